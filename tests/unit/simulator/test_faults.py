from levelgate.simulator.faults import Fault, Faults


def test_a_fault_happens_as_often_as_it_says_and_in_the_order_given():
    faults = Faults()
    faults.add(Fault("error", "/oauth/token", times=2))
    faults.add(Fault("lost", "/oauth/token"))
    taken = [faults.take("POST", "/oauth/token") for _ in range(4)]
    assert [fault and fault.effect for fault in taken] == ["error", "error", "lost", None]


def test_a_fault_without_times_happens_until_it_is_cleared():
    faults = Faults()
    faults.add(Fault("error", times=None))
    assert all(faults.take("GET", "/any") for _ in range(5))
    faults.clear()
    assert faults.take("GET", "/any") is None


def test_a_fault_of_another_path_or_method_waits():
    faults = Faults()
    faults.add(Fault("error", "/contacts/", method="GET"))
    assert faults.take("POST", "/contacts/") is None
    assert faults.take("GET", "/users/") is None
    assert faults.take("GET", "/contacts/1") is not None


def test_a_fault_of_a_whole_path_leaves_what_is_below_it_alone():
    faults = Faults()
    faults.add(Fault("error", "/contacts/1", is_whole=True))
    assert faults.take("GET", "/contacts/1/notes", "/contacts/{contactId}/notes") is None
    assert faults.take("GET", "/contacts/2", "/contacts/{contactId}") is None
    assert faults.take("GET", "/contacts/1", "/contacts/{contactId}") is not None


def test_a_fault_of_an_operation_happens_whichever_entity_is_asked_for():
    faults = Faults()
    faults.add(Fault("error", "/contacts/{contactId}", is_whole=True, times=2))
    assert faults.take("GET", "/contacts/business/1", "/contacts/business/{businessId}") is None
    assert faults.take("GET", "/contacts/1", "/contacts/{contactId}") is not None
    assert faults.take("GET", "/contacts/2", "/contacts/{contactId}") is not None
