"""The vendor's API bound to one app and tenant, a module a family: `ctx.api.contacts.get(contact_id)`.

Each module is plain and of one shape, so that the rest of the vendor's families can be generated: a class of methods,
each naming its operation, its parameters and what of the answer is the result.
"""

from functools import cached_property

from levelgate.highlevel.api.appointments import Appointments
from levelgate.highlevel.api.caller import Caller, Entity
from levelgate.highlevel.api.contacts import Contacts
from levelgate.highlevel.api.conversations import Conversations
from levelgate.highlevel.api.invoices import Invoices
from levelgate.highlevel.api.locations import Locations
from levelgate.highlevel.api.messages import Messages
from levelgate.highlevel.api.notes import Notes
from levelgate.highlevel.api.opportunities import Opportunities
from levelgate.highlevel.api.orders import Orders
from levelgate.highlevel.api.prices import Prices
from levelgate.highlevel.api.products import Products
from levelgate.highlevel.api.tasks import Tasks
from levelgate.highlevel.api.users import Users
from levelgate.highlevel.client import HighLevelClient, OnCall
from levelgate.highlevel.lanes import Lane
from schemas.ids import AppName, TenantId

__all__ = ["Api", "Entity"]


class Api:
    """Calls under one tenant's token; token, refresh and typed errors are taken care of.

    Any method raises what `HighLevelClient.request` does: let it, the worker knows what each means.
    """

    def __init__(
        self,
        client: HighLevelClient,
        app: AppName,
        tenant: TenantId,
        on_call: OnCall | None = None,
        lane: Lane = "live",
    ) -> None:
        self._client = client
        self._app = app
        self._on_call = on_call
        self._lane = lane
        self._caller = Caller(client, app, tenant, on_call, lane)
        self.tenant = tenant

    def of(self, tenant: TenantId) -> "Api":
        """Return the same API under another tenant's token: a company's, where an operation takes either."""
        return Api(self._client, self._app, tenant, self._on_call, self._lane)

    @cached_property
    def appointments(self) -> Appointments:
        """Appointments of calendars."""
        return Appointments(self._caller)

    @cached_property
    def contacts(self) -> Contacts:
        """Contacts."""
        return Contacts(self._caller)

    @cached_property
    def conversations(self) -> Conversations:
        """Conversations."""
        return Conversations(self._caller)

    @cached_property
    def invoices(self) -> Invoices:
        """Invoices."""
        return Invoices(self._caller)

    @cached_property
    def locations(self) -> Locations:
        """Locations (sub-accounts)."""
        return Locations(self._caller)

    @cached_property
    def messages(self) -> Messages:
        """Messages of conversations."""
        return Messages(self._caller)

    @cached_property
    def notes(self) -> Notes:
        """Notes of contacts."""
        return Notes(self._caller)

    @cached_property
    def opportunities(self) -> Opportunities:
        """Opportunities."""
        return Opportunities(self._caller)

    @cached_property
    def orders(self) -> Orders:
        """Orders."""
        return Orders(self._caller)

    @cached_property
    def prices(self) -> Prices:
        """Prices of products."""
        return Prices(self._caller)

    @cached_property
    def products(self) -> Products:
        """Products."""
        return Products(self._caller)

    @cached_property
    def tasks(self) -> Tasks:
        """Tasks of contacts."""
        return Tasks(self._caller)

    @cached_property
    def users(self) -> Users:
        """Users."""
        return Users(self._caller)
