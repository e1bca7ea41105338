"""Names have one owner, unknown ones are answered with the nearest, plugins are listed without being imported."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from alignkit import registry as module
from alignkit.registry import Component, Registry, RegistryError


class Base(Component):
    """Base."""


class Plain(Base):
    """A member."""

    size: int = 1


HERE = f"{__name__}:Plain"


@pytest.fixture
def install(monkeypatch):
    """Pretends that entry points of kind `thing` are installed: `install(name="module:class")`."""

    def install(*points: tuple[str, str]):
        found = [EntryPoint(name, value, "alignkit.thing") for name, value in points]
        monkeypatch.setattr(module, "_installed", lambda: found)

    install()
    return install


def things(**table: str) -> Registry[Base]:
    return Registry("thing", Base, table)


def test_a_component_is_imported_when_it_is_named():
    registry = things(order="collections:OrderedDict", broken="no.such.module:Class")
    assert registry.names() == ["broken", "order"]
    assert registry.owner("broken") == "no.such.module:Class"


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known():
    with pytest.raises(RegistryError) as caught:
        things(red="a:A", green="b:B").get("gren")
    assert str(caught.value) == "unknown thing 'gren'; did you mean 'green'? known: green, red"
    assert isinstance(caught.value, LookupError)


def test_a_second_owner_of_a_name_is_refused(install):
    registry = things()
    registry.register("one")(Plain)
    with pytest.raises(RegistryError) as caught:
        registry.register("one")(Base)
    assert str(caught.value) == f"thing 'one' is already registered by {HERE}"
    with pytest.raises(RegistryError, match=r"^thing 'two' is already registered by a\.b:C$"):
        things(two="a.b:C").register("two")(Plain)


def test_one_class_may_have_two_names(install):
    registry = things()
    registry.register("one")(registry.register("two")(Plain))
    assert registry.build("two", {"size": 3}) == Plain(name="two", size=3)
    assert registry.build("one", {}).name == "one"


def test_a_plugin_is_listed_without_being_imported_and_loaded_when_named(install):
    install(("ours", "collections:OrderedDict"), ("broken", "no.such.module:Class"))
    registry = things(built_in="a:A")
    assert registry.names() == ["broken", "built_in", "ours"]
    assert registry.owner("broken") == "no.such.module:Class"
    with pytest.raises(RegistryError) as caught:
        registry.get("broken")
    assert str(caught.value) == "plugin thing 'broken' (no.such.module:Class) cannot be loaded: No module named 'no'"


def test_a_plugin_must_be_a_component_of_its_kind(install):
    install(("ours", "collections:OrderedDict"))
    with pytest.raises(RegistryError) as caught:
        things().get("ours")
    assert str(caught.value) == "plugin thing 'ours' is <class 'collections.OrderedDict'>, not a subclass of Base"


def test_a_plugin_cannot_take_a_name_that_has_an_owner(install):
    install(("ours", "a:A"), ("theirs", "b:B"), ("theirs", "c:C"))
    with pytest.raises(RegistryError) as caught:
        things(ours="z:Z").get("ours")
    assert str(caught.value) == (
        "thing 'ours' is registered by a:A and by z:Z; uninstall one of the plugins or rename its entry point"
    )
    with pytest.raises(RegistryError) as caught:
        things().get("theirs")
    assert str(caught.value) == (
        "thing 'theirs' is registered by b:B and by c:C; uninstall one of the plugins or rename its entry point"
    )


def test_the_source_of_a_component_is_its_line(install):
    registry = things()
    registry.register("one")(Plain)
    file, _, line = registry.source("one").rpartition(":")
    assert file == __file__
    with open(file) as lines:
        assert list(lines)[int(line) - 1] == "class Plain(Base):\n"
