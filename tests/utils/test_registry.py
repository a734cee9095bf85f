import pytest

from keras_lodin.utils.registry import Registry, did_you_mean


def entered(registry, name, **facts):
    @registry.register(name, **facts)
    class Thing:
        pass

    return Thing


def test_names_stand_by_position_and_then_by_name():
    registry = Registry("thing")
    for name, position in (("b", 2), ("z", 1)):
        entered(registry, name, position=position)
    registry.register("d", "c")(len)
    assert list(registry) == ["z", "b", "c", "d"]
    assert registry["c"] is registry["d"] is len


def test_what_is_decorated_is_given_back_and_described():
    registry = Registry("thing")
    thing = entered(registry, "one", description="one[:COUNT]")
    assert registry.find("one") is thing
    assert registry.description("one") == "one[:COUNT]"
    registry["set"] = len
    assert registry.description("set") == ""


def test_an_unknown_name_is_answered_with_all_and_with_the_nearest():
    registry = Registry("thing", ", or a path")
    registry.register("apple", "cherry")(len)
    with pytest.raises(ValueError, match="must be one of apple, cherry, or a path") as error:
        registry.find("aple", "fruit", "aple:3")
    assert str(error.value).endswith("Did you mean 'apple'? Received: fruit='aple:3'")
    with pytest.raises(ValueError, match=r"Received: name='x'$"):
        registry.find("x")


def test_a_name_is_given_once_but_to_the_same_thing_again():
    registry = Registry("thing")
    entered(registry, "one")
    again = entered(registry, "one")  # as a cell of a notebook that is run again
    assert registry["one"] is again
    with pytest.raises(ValueError, match="There is a thing of that name already"):
        registry.register("one")(len)
    assert registry["one"] is again


def test_nothing_is_proposed_where_nothing_is_near():
    assert did_you_mean("Apple", ["apple", "pear"]) == " Did you mean 'apple'?"
    assert did_you_mean("zzz", ["apple", "pear"]) == ""
