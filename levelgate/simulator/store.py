"""Everything that exists at the simulated vendor, in memory, each change noted in the journal.

Kinds are plain words (`contact`, `install`, `access`, …); an id is unique within its kind. Bodies are owned by the
store: who changes one puts a new dict.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from levelgate.simulator import journal
from levelgate.simulator.journal import Journal, Record

Body = dict[str, Any]

_PUT_FIELDS = 4


class Entry(msgspec.Struct, frozen=True):
    """One entity: whose it is, and what the API shows of it."""

    tenant: str
    body: Body


class Store:
    """Entities by kind and id, listed by tenant in the order of their creation."""

    def __init__(self, kept: Journal) -> None:
        self._journal = kept
        self._kinds: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        self._tenants: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)

    @classmethod
    async def open(cls, data_dir: Path) -> "Store":
        """Read what an earlier run left in `data_dir`, compact it, and go on from there."""
        path = data_dir / "journal.jsonl"
        store = cls(Journal(path))
        for record in await asyncio.to_thread(journal.read, path):
            store._replay(record)
        await asyncio.to_thread(journal.rewrite, path, list(store._records()))
        return store

    def get(self, kind: str, entity_id: str) -> Entry | None:
        """Return the entity, or None."""
        return self._kinds[kind].get(entity_id)

    def of_tenant(self, kind: str, tenant: str) -> list[Body]:
        """Return the bodies of a tenant's entities, oldest first."""
        entries = self._kinds[kind]
        return [entries[entity_id].body for entity_id in self._tenants[kind, tenant]]

    def all(self, kind: str) -> Iterator[tuple[str, Entry]]:
        """Yield all entities of a kind with their ids."""
        return iter(list(self._kinds[kind].items()))

    def counts(self) -> dict[str, int]:
        """Return how many entities there are of each kind."""
        return {kind: len(entries) for kind, entries in sorted(self._kinds.items()) if entries}

    def put(self, kind: str, entity_id: str, tenant: str, body: Body) -> None:
        """Create or replace an entity."""
        self._set(kind, entity_id, Entry(tenant, body))
        self._journal.append([kind, entity_id, tenant, body])

    def remove(self, kind: str, entity_id: str) -> None:
        """Delete an entity, if it is there."""
        if self._unset(kind, entity_id):
            self._journal.append([kind, entity_id])

    async def flush(self) -> None:
        """Return when all changes so far would survive a kill."""
        await self._journal.flush()

    async def close(self) -> None:
        """Flush, and end the journal's thread."""
        await self._journal.close()

    def _replay(self, record: Record) -> None:
        if len(record) == _PUT_FIELDS:
            kind, entity_id, tenant, body = record
            self._set(kind, entity_id, Entry(tenant, body))
        else:
            kind, entity_id = record
            self._unset(kind, entity_id)

    def _records(self) -> Iterator[Record]:
        for kind, entries in self._kinds.items():
            for entity_id, entry in entries.items():
                yield [kind, entity_id, entry.tenant, entry.body]

    def _set(self, kind: str, entity_id: str, entry: Entry) -> None:
        self._unset_tenant(kind, entity_id, unless=entry.tenant)
        self._kinds[kind][entity_id] = entry
        self._tenants[kind, entry.tenant][entity_id] = None

    def _unset(self, kind: str, entity_id: str) -> bool:
        self._unset_tenant(kind, entity_id)
        return self._kinds[kind].pop(entity_id, None) is not None

    def _unset_tenant(self, kind: str, entity_id: str, *, unless: str | None = None) -> None:
        old = self._kinds[kind].get(entity_id)
        if old is not None and old.tenant != unless:
            self._tenants[kind, old.tenant].pop(entity_id, None)
