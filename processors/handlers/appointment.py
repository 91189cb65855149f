"""Keeps appointments as the vendor has them.

Bodies of updates and deletes may call themselves AppointmentCreate (facts.md §6): reading again tells which it was.
"""

from levelgate import Context, on
from levelgate.events import AppointmentCreate, AppointmentDelete, AppointmentUpdate
from processors.handlers.mirror import forget, mirror


@on(AppointmentCreate, AppointmentUpdate, coalesce=True)
async def mirror_appointment(event: AppointmentCreate | AppointmentUpdate, ctx: Context) -> None:
    """Re-read the appointment and upsert it; a 404 means it was deleted meanwhile."""
    appointment_id = _id(event)
    await mirror(ctx, "appointment", appointment_id, lambda: ctx.api.appointments.get(appointment_id))


@on(AppointmentDelete, coalesce=True)
async def forget_appointment(event: AppointmentDelete, ctx: Context) -> None:
    """Remove the appointment."""
    await forget(ctx, "appointment", _id(event))


def _id(event: AppointmentCreate | AppointmentUpdate | AppointmentDelete) -> str:
    return (event.appointment.id if event.appointment else None) or ""
