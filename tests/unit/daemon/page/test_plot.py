"""Rates become the points of lines in one box."""

from __future__ import annotations

from librarian_daemon.page.plot import HEIGHT, WIDTH, plot


def points(line: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line.split())]


def test_the_newest_value_stands_at_the_right_edge() -> None:
    drawn = plot([[1.0, 2.0]], 11)
    assert points(drawn.lines[0]) == [(WIDTH * 0.9, HEIGHT / 2), (WIDTH, 0)]


def test_all_lines_share_one_scale() -> None:
    drawn = plot([[4.0], [1.0]], 10)
    assert drawn.top == 4.0
    assert [points(line)[0][1] for line in drawn.lines] == [0, HEIGHT * 0.75]


def test_nothing_moved_is_a_line_on_the_ground() -> None:
    assert points(plot([[0.0, 0.0]], 2).lines[0]) == [(0, HEIGHT), (WIDTH, HEIGHT)]


def test_no_samples_are_no_points() -> None:
    drawn = plot([[], []], 240)
    assert drawn.lines == ["", ""]
    assert drawn.top == 0


def test_older_samples_than_there_is_room_for_are_left_out() -> None:
    assert points(plot([[9.0, 1.0, 2.0]], 2).lines[0])[0][0] == 0
    assert len(points(plot([[9.0, 1.0, 2.0]], 2).lines[0])) == 2
