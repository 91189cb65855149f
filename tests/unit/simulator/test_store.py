import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from levelgate.simulator.store import Store

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.sampled_from("xy"), st.integers()),
        st.tuples(st.just("remove"), st.sampled_from("abc")),
        st.tuples(st.just("restart")),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=40)  # each example opens files
@given(OPERATIONS)
def test_the_store_is_after_any_restarts_what_a_dict_would_be(operations):
    async def run(folder):
        store = await Store.open(folder)
        model: dict[str, tuple[str, dict[str, int]]] = {}
        for operation in operations:
            match operation:
                case ("put", key, tenant, number):
                    store.put("kind", key, tenant, {"n": number % 100})
                    model[key] = (tenant, {"n": number % 100})
                case ("remove", key):
                    store.remove("kind", key)
                    model.pop(key, None)
                case ("restart",):
                    await store.close()
                    store = await Store.open(folder)
        await store.close()
        for survivor in (store, await Store.open(folder)):
            assert {key: (entry.tenant, entry.body) for key, entry in survivor.all("kind")} == model
            for tenant in "xy":
                mine = [body for owner, body in model.values() if owner == tenant]
                assert sorted(map(str, survivor.of_tenant("kind", tenant))) == sorted(map(str, mine))
            await survivor.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def test_a_line_that_a_kill_cut_short_is_dropped_and_the_rest_is_kept(tmp_path):
    store = await Store.open(tmp_path)
    store.put("kind", "a", "t", {"n": 1})
    await store.close()
    path = tmp_path / "journal.jsonl"

    def cut():
        with path.open("ab") as file:
            file.write(b'["kind","b","t",{"n"')

    await asyncio.to_thread(cut)
    again = await Store.open(tmp_path)
    assert again.counts() == {"kind": 1}
    again.put("kind", "c", "t", {"n": 3})
    await again.close()
    last = await Store.open(tmp_path)
    assert last.counts() == {"kind": 2}
    await last.close()


async def test_a_start_compacts_what_was_changed_many_times(tmp_path):
    store = await Store.open(tmp_path)
    for number in range(100):
        store.put("kind", "a", "t", {"n": number})
    await store.close()
    await (await Store.open(tmp_path)).close()
    lines = await asyncio.to_thread((tmp_path / "journal.jsonl").read_bytes)
    assert lines == b'["kind","a","t",{"n":99}]\n'


async def test_a_caller_that_is_cancelled_in_a_flush_does_not_lose_what_it_wrote(tmp_path):
    store = await Store.open(tmp_path)
    store.put("kind", "a", "t", {"n": 1})
    flushing = asyncio.create_task(store.flush())
    await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)
    await store.close()
    again = await Store.open(tmp_path)
    assert again.counts() == {"kind": 1}
    await again.close()
