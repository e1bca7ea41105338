"""Names have one owner, unknown ones are answered with the nearest, plugins are listed without being imported."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distributions

import pytest

from alignkit import entry_points as module
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
        monkeypatch.setattr(module, "installed", lambda: found)

    install()
    return install


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Installs one package: `packages(name, version, entry_points, code of broken_plugin)`; its metadata's folder."""

    def packages(name, version, entry_points, code):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        points = entry_points if isinstance(entry_points, bytes) else entry_points.encode()
        (folder / "entry_points.txt").write_bytes(points)
        (tmp_path / "broken_plugin.py").write_text(code)
        return folder

    monkeypatch.setattr(module, "distributions", lambda: distributions(path=[str(tmp_path)]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    module._scanned.cache_clear()
    yield packages
    module._scanned.cache_clear()


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
    assert str(caught.value) == (
        "plugin thing 'ours' (collections:OrderedDict) is <class 'collections.OrderedDict'>, not a subclass of Base"
    )


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


def test_a_name_that_a_plugin_claims_too_is_listed_and_not_used(install):
    install(("ours", "a:A"))
    registry = things(ours=HERE, other=HERE)
    assert registry.classes() == {"other": Plain, "ours": Plain}
    assert (registry.conflict("other"), registry.names()) == (None, ["other", "ours"])
    for _ in range(2):  # what was listed before is refused as well
        with pytest.raises(RegistryError) as caught:
            registry.get("ours")
        assert (
            str(caught.value)
            == registry.conflict("ours")
            == (
                f"thing 'ours' is registered by a:A and by {HERE}; uninstall one of the plugins or "
                "rename its entry point"
            )
        )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('first\\nsecond \\x1b')", "RuntimeError: first"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise AssertionError", "AssertionError"),
        ("def", "SyntaxError: invalid syntax (broken_plugin.py, line 1)"),
        ("raise ValueError('\\x1b[2J' + 'x' * 9)", r"ValueError: \e[2Jxxxxxxxxx"),
    ],
)
def test_whatever_a_plugin_raises_when_it_is_imported_is_one_line(packages, code, said):
    packages("broken", "2.1", "[alignkit.thing]\nours = broken_plugin:Class\n", code)
    with pytest.raises(RegistryError) as caught:
        things().get("ours")
    message = str(caught.value).replace("expected an identifier", "invalid syntax")
    assert message == f"plugin thing 'ours' (broken_plugin:Class of broken 2.1) cannot be loaded: {said}"


def test_ctrl_c_ends_the_import_of_a_plugin(packages):
    packages("broken", "2.1", "[alignkit.thing]\nours = broken_plugin:Class\n", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        things().get("ours")


def test_a_plugins_package_and_version(packages):
    packages("fine", "0.3", f"[alignkit.thing]\nours = {HERE}\nmine = a:A\n", "")
    registry = things(mine="b:B")
    assert registry.distribution("ours") == ("fine", "0.3")
    assert registry.distribution("mine") is registry.distribution("none") is None


def test_a_plugin_without_metadata_has_no_package(packages):
    folder = packages("bare", "0.1", f"[alignkit.thing]\nours = {HERE}\n", "")
    (folder / "METADATA").write_text("")
    assert things().get("ours") is Plain
    assert things().distribution("ours") is None


def test_one_package_seen_in_two_places_is_no_conflict(packages):
    for version in ("1.0", "1.1"):
        packages("twice", version, f"[alignkit.thing]\nours = {HERE}\n", "")
    assert things().get("ours") is Plain


def test_entry_points_that_cannot_be_read_are_another_packages_trouble(packages):
    folder = packages("latin", "1.0", b"[alignkit.thing]\nours = \xe9:A\n", "")
    assert things(own="a:A").names() == ["own"]
    with pytest.raises(RegistryError) as caught:
        things(own="a:A").get("ours")
    assert str(caught.value) == f"unknown thing 'ours'; known: own; not read: the entry points of {folder}"


def test_the_source_of_a_component_is_its_line(install):
    registry = things()
    registry.register("one")(Plain)
    file, _, line = registry.source("one").rpartition(":")
    assert file == __file__
    with open(file) as lines:
        assert list(lines)[int(line) - 1] == "class Plain(Base):\n"
