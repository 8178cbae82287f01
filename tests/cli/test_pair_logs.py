from click.testing import CliRunner

from dispose_stages.cli import cli
from dispose_stages.cli.pair_logs import unit_lines
from tests.toy_run import plan_run

LOG = """\
2026-01-01 10:00:00 INFO dispose_stages.batch.gpus: GPU 0
2026-01-01 10:00:00 WARNING dispose_stages.batch.machine: of the whole job
2026-01-01 10:00:01 INFO dispose_stages.batch.job: begins aaa: a.mp4
2026-01-01 10:00:02 INFO dispose_stages.pose: reading
2026-01-01 10:00:03 ERROR dispose_stages.batch.runner: a.mp4 failed
Traceback (most recent call last):
  ZeroDivisionError
2026-01-01 10:00:04 INFO dispose_stages.batch.job: begins bbb: b.mp4
2026-01-01 10:00:05 WARNING dispose_stages.pose: of b
"""


def test_lines_of_a_unit_end_where_the_next_begins():
    """With tracebacks, and with warnings that concern the whole job."""
    lines = list(unit_lines(LOG, "aaa"))
    assert [line.rpartition(" ")[2] for line in lines] == [
        *("job", "a.mp4", "reading", "failed"),
        *("last):", "ZeroDivisionError"),
    ]
    assert [line for line in unit_lines(LOG, "bbb") if " of b" in line]
    assert len(list(unit_lines(LOG, "ccc"))) == 1


def test_every_stage_of_a_pair_is_shown(tmp_path):
    """Also those that no job has come to."""
    run = plan_run(tmp_path)
    run.perform_all("ingest", "pose")
    pair = run.plan.rows[0]
    path = run.layout.log("pose", "0-of-1")
    path.parent.mkdir(parents=True)
    line = "2026-01-01 10:00:00 INFO dispose_stages.batch.job: begins"
    path.write_text(f"{line} {pair.units['pose_image']}: x\n{line} other: y\n")
    arguments = ["logs", str(run.layout.root), pair.pair_id]
    said = CliRunner().invoke(cli, arguments).output
    assert "== mux: pending  no log yet" in said
    assert f"== pose_image: done  {path}" in said
    assert said.count("begins") == 1
    only = CliRunner().invoke(cli, [*arguments, "--stage", "pose"]).output
    assert "mux" not in only
    missing = CliRunner().invoke(cli, [*arguments[:2], "nobody"])
    assert "no pair 'nobody'" in str(missing.exception)
