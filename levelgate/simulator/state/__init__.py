"""What exists at the simulated vendor: a module a family, each a table of routes over the store."""

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
