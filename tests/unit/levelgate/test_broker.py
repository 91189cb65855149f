import pytest

from levelgate.broker import partition_of


# Values of Kafka's own UtilsTest.testMurmur2, made positive.
@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_goes_where_kafkas_default_partitioner_puts_it(key, hashed):
    assert partition_of(key, 12) == (hashed & 0x7FFFFFFF) % 12
