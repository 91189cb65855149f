"""One entry of the event catalogue: what is known of an event type before a body of it is seen. Pure."""

import msgspec


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """An event type of the vendor's."""

    wire: str
    """The value of `type` on the wire; our own name where the body has none (the provider message)."""
    family: str
    title: str
    """The vendor's title of its page."""
    type_certainty: str
    """Where `wire` comes from: `sample`, `page example`, `inferred from …` or `no event name in the body`."""
    aliases: tuple[str, ...] = ()
    """Other spellings met (page titles, file names, public handlers)."""
    location_fields: tuple[str, ...] = ()
    """Fields that name the location, in order of trust; `altId` does so only where `altType` is `location`."""
    company_fields: tuple[str, ...] = ()
    entity_fields: tuple[tuple[str, ...], ...] = ()
    """Paths of the id of what changed, the best first."""
    scopes: tuple[str, ...] = ()
    """Scopes that give the event; empty where the vendor's Scopes.md is silent."""
    list_body: bool = False
    """Whether the body may also be a list of such objects: one delivery, kept whole."""
    confidential: bool = False
    """Whether bodies may carry bearer tokens and transcripts: never to be shown outside the store."""
    provider: bool = False
    """Whether it goes to the conversation provider's delivery URL, unsigned, its `type` being the channel."""
