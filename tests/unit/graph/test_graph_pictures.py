"""Graphs become pictures: boxes in layers, arrows that do not cross more than they must, and text that other programs can't misread."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.graph.dag import DAG
from handoff.graph.draw import ARROWS_MAX, BOXES_MAX, dot, mermaid, readable, svg
from handoff.graph.function import Function, collocated
from handoff.graph.layout import BENDS_MAX, Layout, layers_of, layout
from handoff.graph.picture import Arrow, Box, Picture, by_function, picture_of

EVIL = '<script>alert("1")</script> & \'`]]>\n\x00#]|{}\\"'
SVG = "{http://www.w3.org/2000/svg}"


def load(*args: object) -> object:
    """Some code."""
    return args


def resize(*args: object) -> object:
    """Some more."""
    return args


def images() -> DAG:
    """Two chains that meet, with every kind of dependency."""
    dag = DAG("images")
    photo = dag.call(load, "a", id="photo", cost={"memory": 500})
    dag.add(Function("scale", type="input"))
    small = dag.call(resize, [photo], id="small", node=collocated("photo"))
    dag.add(Function("half", ["scale"], load, type="inline"))
    dag.add(Function("page", ["small", "half"], resize, extra_kwargs={"of": photo}, node="gpu-1"))
    assert small.id == "small"
    return dag


def edges(picture: Picture) -> set[tuple[str, str]]:
    """The arrows by labels."""
    return {(picture.boxes[arrow.source].label, picture.boxes[arrow.target].label) for arrow in picture.arrows}


def test_every_dependency_is_an_arrow() -> None:
    """Those in args and those inside other arguments, each once."""
    picture = picture_of(images())
    assert edges(picture) == {("photo", "small"), ("scale", "half"), ("small", "page"), ("half", "page"), ("photo", "page")}
    assert len(picture.arrows) == 5


def test_a_box_says_what_a_function_is() -> None:
    """Kind, function, cost and place."""
    boxes = {box.label: box for box in picture_of(images()).boxes}
    assert {label: box.kind for label, box in boxes.items()} == {
        "photo": "regular", "scale": "input", "small": "regular", "half": "inline", "page": "regular"}
    assert boxes["photo"].detail == "load · memory=500"
    assert boxes["page"].detail == "resize · on gpu-1"
    assert "collocated with 'photo'" in boxes["small"].tip


def test_a_graph_that_is_not_right_is_drawn_nevertheless() -> None:
    """What is missing is marked as missing, and a circle can be seen."""
    dag = DAG().add(Function("a", ["b", "nowhere"], load)).add(Function("b", ["a"], load))
    picture = picture_of(dag)
    assert [box.kind for box in picture.boxes if box.label == "nowhere"] == ["missing"]
    assert edges(picture) == {("b", "a"), ("nowhere", "a"), ("a", "b")}
    assert "closes a circle" in svg(picture)
    assert "not in the graph" in dag.to_mermaid()
    assert dag.to_dot().count("->") == 3


@pytest.mark.parametrize("fields", [
    {"args": None, "extra_args": None, "extra_kwargs": None}, {"args": 5, "extra_args": 5, "extra_kwargs": 5},
    {"args": "load", "extra_kwargs": ["load"], "cost": 5, "node": 5},
])
def test_fields_that_are_nothing_or_not_right_are_drawn_as_nothing(fields: dict[str, Any]) -> None:
    """No arrow comes of them, and no error."""
    dag = DAG().add(Function("a", code=load, **fields))
    assert edges(picture_of(dag)) == set()
    assert "a" in dag.to_mermaid() and "a" in dag.to_dot() and "<svg" in dag._repr_html_()


def test_what_can_be_no_id_is_missing() -> None:
    """It has no hash, so no function is called that."""
    dag = DAG().add(Function("a", [["b"], ("c", ["d"])], load))
    assert edges(picture_of(dag)) == {("['b']", "a"), ("('c', ['d'])", "a")}


def test_many_functions_are_one_box_by_name() -> None:
    """Counts stand for what was summed up; dependencies between calls of one function are not drawn."""
    dag = DAG()
    parts = [dag.call(load, number) for number in range(50)]
    whole = dag.call(resize, parts)
    dag.call(resize, whole)
    picture = by_function(picture_of(dag))
    assert {(box.label, box.count) for box in picture.boxes} == {("load", 50), ("resize", 2)}
    assert [arrow.count for arrow in picture.arrows] == [50]
    assert dag.to_mermaid(by_function=True).count("-->") == 1
    assert dag.to_dot(by_function=True).count("->") == 1


def test_a_large_graph_is_drawn_as_its_summary() -> None:
    """The notebook stays usable; text formats hold everything."""
    dag = DAG()
    dag.call(resize, [dag.call(load, number) for number in range(BOXES_MAX + 1)])
    drawn = dag._repr_html_()
    assert f"{BOXES_MAX + 2:,} functions, drawn by name" in drawn
    assert len(drawn) < 6000
    assert dag.to_mermaid().count("-->") == BOXES_MAX + 1


def test_more_names_than_can_be_drawn_are_cut() -> None:
    """The most frequent stay, and the drawing says so."""
    boxes = [Box(f"b{number}", f"name-{number}") for number in range(BOXES_MAX + 200)] + [Box("extra", "name-550")]
    drawn = svg(Picture("wide", boxes, [Arrow(0, 550), Arrow(550, len(boxes) - 1)]))
    assert f"the {BOXES_MAX} most frequent of {BOXES_MAX + 200} names" in drawn
    assert "name-550" in drawn


def test_a_drawing_stands_by_itself_and_is_well_formed() -> None:
    """It is XML, one group for each box, one path for each arrow, and names nothing outside."""
    dag = images()
    html = dag._repr_html_()
    root = ElementTree.fromstring(html)[0]
    assert root.tag == SVG + "svg"
    assert len(root.findall(SVG + "g")) == len(dag)
    assert len([path for path in root.findall(SVG + "path") if path.get("class", "").startswith("arrow")]) == 5
    assert re.findall(r'(?:href|src)=|@import|url\((?!#)', html) == []
    assert ElementTree.fromstring(DAG().add(Function("x", [], load))._repr_html_()) is not None
    assert "without functions" in DAG("empty")._repr_html_()


def test_what_people_write_can_t_break_out() -> None:
    """Ids with quotes, brackets, line ends and control characters are text in each of the three languages."""
    dag = DAG(EVIL).add(Function(EVIL, [], load)).add(Function("b", [EVIL], load))
    root = ElementTree.fromstring(dag._repr_html_())
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    flow = dag.to_mermaid().splitlines()
    assert [line.split("[")[0].strip() for line in flow if '["' in line] == ["f0", "f1"]
    for line in flow[1:3]:
        assert re.fullmatch(r'    f\d+\["[\w #;.,·=<>/-]*"\]', line), line
        assert re.findall(r"<(?!/?small>|br/>)", line) == []
    graph = dag.to_dot()
    strings = re.findall(r'"(?:[^"\\\n]|\\.)*"', graph)
    rest = re.sub(r'"(?:[^"\\\n]|\\.)*"', "S", graph)
    assert '"' not in rest and "script" not in rest and len(strings) >= 5
    assert rest.splitlines()[0] == "digraph S {" and rest.splitlines()[-1] == "}"


def test_layers_follow_the_longest_path() -> None:
    """Each box stands behind all that it takes, and what takes nothing right before its first consumer."""
    #      0 -> 1 -> 2 -> 4
    #           3 ------> 4
    assert layers_of(5, [(0, 1), (1, 2), (2, 4), (3, 4)]) == [0, 1, 2, 2, 3]


def test_a_known_graph_is_laid_out_without_crossings() -> None:
    """Three chains that were added in mixed order lie side by side."""
    arrows = [(0, 5), (1, 3), (2, 4), (3, 7), (4, 8), (5, 6)]
    found = layout(9, arrows)
    order = {layer: sorted((box for box in range(9) if found.layer[box] == layer), key=found.place.__getitem__) for layer in range(3)}
    follow = dict(arrows)
    assert [follow[box] for box in order[0]] == order[1]
    assert [follow[box] for box in order[1]] == order[2]
    for source, target in arrows:
        assert found.place[source] == pytest.approx(found.place[target])


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_boxes_never_overlap_and_arrows_lead_forward(count: int, seed: int) -> None:
    """Whatever the graph: room between boxes of a layer, bends in each layer between, nothing outside the drawing."""
    rng = random.Random(seed)
    arrows = list({(rng.randrange(count), rng.randrange(count)) for _ in range(rng.randrange(3 * count))})
    found: Layout = layout(count, arrows, gap=10.0)
    for layer in range(found.layers):
        places = sorted(found.place[box] for box in range(count) if found.layer[box] == layer)
        assert all(right - left >= 10 - 1e-6 for left, right in pairwise(places))
    assert all(5 - 1e-6 <= place <= found.breadth - 5 + 1e-6 for place in found.place)
    for (source, target), bends in zip(arrows, found.bends, strict=True):
        between = [layer for layer, _ in bends]
        low, high = found.layer[source], found.layer[target]
        assert between == (list(range(low + 1, high)) if low <= high else list(range(low - 1, high, -1)))
        assert source == target or low != high
    assert layout(count, arrows, gap=10.0) == found


def test_marks_are_seen_in_all_three() -> None:
    """A critical path can be pointed out."""
    picture = Picture("p", [Box("a", is_marked=True), Box("b", is_marked=True)], [Arrow(0, 1, is_marked=True)])
    assert "==>" in mermaid(picture) and "class f0,f1 marked" in mermaid(picture)
    assert 'class="arrow marked"' in svg(picture)
    assert "penwidth=2" in dot(picture)


def test_ids_that_look_alike_are_told_apart() -> None:
    """1 beside "1", and what would show as nothing; any other text is as it was written."""
    ids: list[Any] = [1, "1", ("a", 1), "('a', 1)", "", " \n", "2", 1.5]
    dag = DAG()
    for id in ids:
        dag.add(Function(id, code=load))
    assert [box.label for box in picture_of(dag).boxes] == ["1", "'1'", "('a', 1)", '"(\'a\', 1)"', "''", "' \\n'", "2", "1.5"]


def test_long_ids_are_cut_for_others_too() -> None:
    """A box as wide as a book is no picture; the tip has all of it."""
    dag = DAG().add(Function("x" * 5000, code=load, node="n" * 5000))
    assert len(dag.to_mermaid()) < 500
    assert f'label="{"x" * 99}…' in dag.to_dot() and "x" * 5000 in dag.to_dot()


def test_a_dense_graph_is_laid_out_with_no_more_bends_than_can_be_placed() -> None:
    """Each of 60 leads to all that follow: 34,220 bends took half a minute. The longest arrows go straight; the short ones keep theirs."""
    arrows = [(source, target) for source in range(60) for target in range(source + 1, 60)]
    found = layout(60, arrows)
    made = {arrow: len(bends) for arrow, bends in zip(arrows, found.bends, strict=True)}
    assert sum(made.values()) <= BENDS_MAX < sum(target - source - 1 for source, target in arrows)
    assert made[0, 59] == 0 and made[0, 3] == 2 and found.layers == 60


def test_more_arrows_than_anyone_could_follow_are_summed_up() -> None:
    """By name, as are too many functions; and where every function has a name of its own, those that are not drawn are counted."""
    def picture(name: str) -> Picture:
        boxes = [Box(str(number), name.format(number)) for number in range(100)]
        return Picture("dense", boxes, [Arrow(source, target) for source in range(100) for target in range(source + 1, 100)])

    made, note = readable(picture("work"))
    assert ([box.detail for box in made.boxes], list(made.arrows), note) == (["100 functions"], [], "100 functions, drawn by name")
    made, note = readable(picture("work{}"))
    assert (len(made.boxes), len(made.arrows), note) == (100, ARROWS_MAX, "100 functions, drawn by name; 4,000 of 4,950 arrows")


@pytest.mark.parametrize(("label", "flow"), [
    ("1. load", "1#46; load"), ("- load", "#45; load"), ("__init__", "#95;#95;init#95;#95;"), ("_load_", "#95;load#95;"),
    ("    load", "#32;   load"), ("load_1-2.5", "load_1-2.5"), ("a - b", "a #45; b"), ("", ""),
])
def test_labels_are_no_markdown_for_mermaid(label: str, flow: str) -> None:
    """It would say "Unsupported markdown: list" in the place of the first two, and show others in bold, without what made them so."""
    assert mermaid(Picture("g", [Box(label)], [])).splitlines()[1] == f'    f0["{flow}"]'


def test_labels_are_no_html_for_graphviz() -> None:
    """It reads entities in labels and tips."""
    line = dot(Picture("g", [Box("a &lt; b", detail="R&D")], [])).splitlines()[3]
    assert 'label="a &amp;lt; b\\nR&amp;D" tooltip="a &amp;lt; b"' in line


@pytest.mark.parametrize(("label", "shown", "width"), [
    ("画像処理画像処理", "画像処理画像処理", 16 * 7.4 + 26), ("画" * 40, "画" * 12 + "…", 220.0), ("a" * 40, "a" * 25 + "…", 220.0),
    ("load", "load", 64.0),
])
def test_wide_letters_stay_within_their_box(label: str, shown: str, width: float) -> None:
    """They take the room of two, and nothing cuts off what runs over the edge of a box."""
    drawn = svg(Picture("g", [Box(label)], []))
    assert f">{shown}</text>" in drawn and f'width="{width:.1f}" height="38"' in drawn
