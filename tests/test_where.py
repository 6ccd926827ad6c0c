"""`nightmill where`: the address at which the current version of an output stays as it is."""

from __future__ import annotations

import pytest

from nightmill.errors import UsageError
from nightmill.store.current import current_pointers
from nightmill.store.keys import attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import commit
from tests.stored_versions import DAY, PIPELINE, add_version, make_pointer, store_outputs

LATER = "2013-03-02"


def committed(store, output: str, *, step: str = "score", day: str = DAY, order: int = 9) -> None:
    """Commit one more output of some step."""
    prefix = attempt_prefix(PIPELINE, day, f"run-{order}", step, 1)
    stored = store_outputs(store, prefix, {output: {f"{output}.txt": b"x"}})
    names = {"step": step, "partition": day, "attempt_prefix": prefix}
    commit(store, make_pointer(order, outputs=stored, **names))


def ask(cli, store, *options, output="flights.scores"):
    """Run the verb on a store."""
    return cli("where", output, f"--store={store.url}", *options)


def test_the_address_is_that_of_the_attempt_that_counts(cli, store):
    """One line, whole and bare, that follows the pointer: after a commit, and after a rollback."""
    add_version(store, 1)
    first = ask(cli, store, f"--partition={DAY}")
    prefix = f"runs/flights/{DAY}/run-1/score/1/outputs/scores/scores.parquet"
    assert (first.code, first.out) == (0, f"{store.address(prefix)}\n")
    add_version(store, 2)
    assert "/run-2/score/1/" in ask(cli, store, f"--partition={DAY}").out
    assert (
        cli(
            "rollback",
            "flights.scores",
            f"--store={store.url}",
            f"--partition={DAY}",
            "--to=previous",
        ).code
        == 0
    )
    assert ask(cli, store, f"--partition={DAY}").out == first.out
    assert store.read(prefix).data == b"scores of run 1 attempt 1"


def test_an_output_that_is_a_folder_has_the_folders_address(cli, store):
    """Libraries that read folders get the folder; it holds this version's files only."""
    add_version(store, 1)
    said = ask(cli, store, output="flights.plots").out.strip()
    assert said == store.address(f"runs/flights/{DAY}/run-1/score/1/outputs/plots")


def test_what_never_became_current_is_not_named(cli, store):
    """An attempt that stored its outputs and did not commit is nothing to read."""
    add_version(store, 1)
    add_version(store, 2, commits=False)
    assert "/run-1/" in ask(cli, store).out


def test_without_a_partition_the_newest_that_has_the_output(cli, store):
    """A newer day that committed other outputs only is passed over."""
    add_version(store, 1)
    committed(store, "model", day=LATER)
    assert f"/{DAY}/" in ask(cli, store).out
    assert f"/{LATER}/" in ask(cli, store, output="flights.model").out
    committed(store, "scores", day=LATER, order=10)
    assert f"/{LATER}/" in ask(cli, store).out


def test_of_text_partitions_the_one_committed_last_is_the_newest(cli, store):
    """A name has no order: v10 comes after v9, whatever the alphabet says."""
    for order, name in enumerate(("v9", "v10"), start=1):
        committed(store, "model", day=name, order=order)
    assert "/v10/" in ask(cli, store, output="flights.model").out


def test_every_member_has_a_line_of_its_own(cli, store):
    """In the order of their names, or the one that is asked for."""
    for member in ("west", "east"):
        add_version(store, 1, member=member)
    lines = ask(cli, store).out.splitlines()
    assert ["/east/" in lines[0], "/west/" in lines[1], len(lines)] == [True, True, 2]
    assert ask(cli, store, "--member=west").out.splitlines() == lines[1:]
    refused = ask(cli, store, "--member=wset")
    assert refused.code == 2
    assert "no member `wset`" in refused.err
    assert "west" in refused.err


@pytest.mark.parametrize("newer", ["", "west"])
def test_only_what_the_newest_run_had_is_current(store, newer):
    """A step that lost its members, or was given some, has left pointers that do not count."""
    for member in ("", "west", "east"):
        add_version(store, 9 if bool(member) == bool(newer) else 2, member=member)
    found = [one.member for one in current_pointers(store, PIPELINE, "scores", DAY)]
    assert found == (["east", "west"] if newer else [""])


def test_an_output_that_the_newest_form_lacks_is_not_current(store):
    """What members once made does not come back when the single output is renamed."""
    add_version(store, 1, member="east")
    add_version(store, 2, files={"other": {"o.txt": b"x"}})
    with pytest.raises(UsageError, match="nothing is current of `scores`"):
        current_pointers(store, PIPELINE, "scores", DAY)


def test_in_a_project_only_its_members_are_named(cli, project, tmp_path):
    """Who asks elsewhere sees every member that has committed; the project knows who is gone."""
    step = "score: {notebook: s.ipynb, members: [east], outputs: {scores: scores.parquet}}"
    project.pipeline("flights", step, s=[""])
    store = open_store(str(project.store), base=project.root)
    for member in ("east", "west"):
        add_version(store, 1, member=member)
    inside = cli("where", "flights.scores", cwd=project.root).out.splitlines()
    assert [line.count("/east/") for line in inside] == [1]
    outside = cli("where", "flights.scores", f"--store={project.store}", cwd=tmp_path)
    assert len(outside.out.splitlines()) == 2


def test_an_output_that_moved_to_another_step_is_what_was_committed_last(store):
    """The pointer of the step that used to make it stays in the store, and does not count."""
    committed(store, "scores", step="old", order=50)
    committed(store, "scores", step="new", order=9)
    (found,) = current_pointers(store, PIPELINE, "scores", DAY)
    assert found.step == "new"


def test_long_names_are_found(store):
    """Names that keys shorten are found with and without their partition."""
    long = "d" * 300
    committed(store, "scores", step="s" * 300, day=long)
    for partition in (None, long):
        (found,) = current_pointers(store, PIPELINE, "scores", partition)
        assert (found.step, found.partition) == ("s" * 300, long)


def test_nothing_current_is_an_error_that_says_where_to_look(cli, store):
    """Exit code 2 and nothing on standard output, so that a script reads no wrong file."""
    add_version(store, 1, commits=False)
    ended = ask(cli, store, f"--partition={DAY}")
    assert (ended.code, ended.out) == (2, "")
    assert f"nothing is current of `scores` for {DAY}" in ended.err
    assert "nightmill versions" in ended.err


@pytest.mark.parametrize("output", ["flights", "flights.", "nothing.scores"])
def test_a_name_that_is_no_output_is_refused(cli, store, output):
    """What is asked for is PIPELINE.OUTPUT of something that ran."""
    add_version(store, 1)
    assert ask(cli, store, output=output).code == 2


def test_the_address_is_absolute_wherever_it_is_asked_for(cli, tmp_path, monkeypatch):
    """A reader may stand in another folder than whoever asked."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1)
    monkeypatch.chdir(tmp_path)
    said = cli("where", "flights.scores", "--store=store").out
    assert said.startswith(f"{tmp_path}/store/runs/")


def test_another_pipelines_output_is_not_found(store):
    """Each pipeline has its own outputs."""
    add_version(store, 1)
    with pytest.raises(UsageError, match="nothing is current of `scores`"):
        current_pointers(store, "other", "scores")
