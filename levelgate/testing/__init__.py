"""The test kit for handlers: a documented event, a context, one run and its verdict.

    event = testing.sample(ContactCreate, firstName="Ada")
    ctx = testing.context(event, answers={f"GET /contacts/{event.id}": {"contact": {"id": event.id}}})
    outcome = await testing.run(greet, event, ctx)
    assert outcome.state == "done"

`context` answers API calls from a script; `simulated` starts a HighLevel in this process that answers them over HTTP.
Needs no test framework, no Kafka and no database.
"""

from levelgate.highlevel.recording import Call
from levelgate.testing.runs import RecordingContext, UnexpectedCall, context, run, sample
from levelgate.testing.simulated import Kind, SimulatedVendor, simulated
from processors.trial import Outcome

__all__ = [
    "Call",
    "Kind",
    "Outcome",
    "RecordingContext",
    "SimulatedVendor",
    "UnexpectedCall",
    "context",
    "run",
    "sample",
    "simulated",
]
