"""What exists at the simulated vendor: a module a family, each a table of routes over the store."""

from collections.abc import Mapping

from levelgate.simulator.state import (
    appointments,
    contacts,
    conversations,
    invoices,
    locations,
    messages,
    notes,
    opportunities,
    orders,
    prices,
    products,
    tasks,
    users,
)
from levelgate.simulator.state.resource import Resource
from levelgate.simulator.state.route import Route

ROUTES: tuple[Route, ...] = (
    *notes.ROUTES,
    *tasks.ROUTES,
    *contacts.ROUTES,
    *opportunities.ROUTES,
    *appointments.ROUTES,
    *locations.ROUTES,
    *users.ROUTES,
    *messages.ROUTES,
    *conversations.ROUTES,
    *orders.ROUTES,
    *invoices.ROUTES,
    *prices.ROUTES,
    *products.ROUTES,
)
"""All of them; where two match, the one with more fixed parts wins."""

RESOURCES: Mapping[str, Resource] = {
    resource.kind: resource
    for resource in (
        appointments.APPOINTMENT,
        contacts.CONTACT,
        conversations.CONVERSATION,
        invoices.INVOICE,
        locations.LOCATION,
        messages.MESSAGE,
        notes.NOTE,
        opportunities.OPPORTUNITY,
        orders.ORDER,
        prices.PRICE,
        products.PRODUCT,
        tasks.TASK,
        users.USER,
    )
}
"""What is known of each kind of entity, by its name in the store."""
