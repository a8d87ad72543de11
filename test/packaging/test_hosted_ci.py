"""The hosted CI's files: they say how far they were run, and hold what they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FORMS = sorted(path for path in GITHUB.glob("ISSUE_TEMPLATE/*.yml") if path.name != "config.yml")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_tells_that_it_has_not_run_and_may_only_read(path):
    text = path.read_text()
    assert text.startswith("# Not run yet")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())


def test_colcon_builds_in_the_images_of_three_distributions():
    job = yaml.safe_load((GITHUB / "workflows/colcon.yml").read_text())["jobs"]["colcon"]
    assert job["strategy"]["matrix"]["distro"] == ["humble", "jazzy", "lyrical"]
    assert job["container"] == "ros:${{ matrix.distro }}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_a_name_and_fields_of_their_own(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"] and form["description"]
    names = [field["id"] for field in form["body"]]
    assert len(names) == len(set(names)) and all(field["attributes"]["label"] for field in form["body"])
