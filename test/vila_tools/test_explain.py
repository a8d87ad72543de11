"""`vila explain`: what a decision depends on is found by leaving out; the picture and the paragraph say so."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rosbags")
from recorded_runs import GOVERNOR, INSTRUCTION, Run, altered, header, make_run, message

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.history.policy import blank_like, is_blank
from vila_core.testing import SCRIPTED_INFO, make_frame
from vila_core.types import Choice, Decision, Frame, Visual
from vila_tools.cli import main as vila
from vila_tools.explain.aftermath import aftermath, guard_sentence
from vila_tools.explain.evidence import FRAME, PICTURE, WORD, asker, evidence, occlusion
from vila_tools.explain.paragraph import CAUTION, paragraph
from vila_tools.explain.subject import Subject
from vila_tools.replay.recording import Recording, read_recording

LEFT, STOP = SENTENCES.index("The next action is turn left 15 degree."), 0


class Red:
    """A model that turns left for the word "red", and for red at the left of the newest picture; else it stops."""

    info = SCRIPTED_INFO

    def __init__(self) -> None:
        self.slots: set[str] = set()

    def choose(self, prompt, replies) -> Choice:
        self.slots.add(prompt.cache_slot)
        image = prompt.visuals[-1].frame.image.astype(int)
        patch = image[: image.shape[0] // 2, : image.shape[1] // 4]
        red = float(np.clip((patch[..., 0] - patch[..., 2]) / 255, 0, 1).mean())
        share = 0.1 + 0.5 * red + 0.3 * ("red" in prompt.text)
        rest = (1 - share) / (len(replies) - 1)
        values = [share if index == LEFT else rest for index in range(len(replies))]
        return Choice(int(np.argmax(values)), tuple(values))


@pytest.fixture
def scene() -> tuple[Visual, ...]:
    """Nothing, then grey, then a picture that is red at the top left."""
    grey = np.full((64, 64, 3), 90, np.uint8)
    red = grey.copy()
    red[:32, :16] = (255, 0, 0)
    before, now = Frame(grey, 1), Frame(red, 2)
    return Visual(blank_like(now), 4), Visual(before, 4), Visual(now)


class TestEvidence:
    def test_what_matters_is_found(self, scene):
        backend = Red()
        rows = list(evidence(asker(backend), scene, "go to the red chair", LEFT))
        drops = {(one.kind, one.name): one.drop for one in rows}
        assert drops[FRAME, "image 3"] == pytest.approx(0.5, abs=0.01) and drops[FRAME, "image 2"] == 0
        assert (FRAME, "image 1") not in drops, "a black image cannot be left out"
        assert drops[WORD, "red"] == pytest.approx(0.3)
        assert [one.name for one in rows if one.kind == WORD] == INSTRUCTION.split()
        assert all(drops[WORD, word] == 0 for word in ("go", "to", "the", "chair"))
        assert drops[PICTURE, "mirrored"] == pytest.approx(0.5, abs=0.01)
        assert drops[PICTURE, "red and blue swapped"] == pytest.approx(0.5, abs=0.01)
        assert drops[PICTURE, "darker by half"] == pytest.approx(0.25, abs=0.01)
        assert drops[PICTURE, "brighter by half"] == 0
        assert backend.slots == {"explain"}, "the navigator's prompts stay in the cache"
        without = next(one for one in rows if one.name == "red")
        assert without.moved == pytest.approx(0.3) and sum(without.probabilities) == pytest.approx(1)

    def test_the_map_shows_where(self, scene):
        *_, covered = occlusion(asker(Red()), scene, "go", LEFT, 4)
        assert covered.drops.shape == (4, 4)
        assert np.flatnonzero(covered.drops > 0.1).tolist() == [0, 4]
        assert covered.strongest[1] == 0
        *_, wide = occlusion(asker(Red()), [Visual(make_frame(1, height=30, width=60))], "go", LEFT, 8)
        assert wide.drops.shape == (4, 8)

    def test_a_word_alone_is_not_left_out(self, scene):
        assert not [one for one in evidence(asker(Red()), scene, "red", LEFT) if one.kind == WORD]

    def test_the_pictures_themselves_are_not_touched(self, scene):
        before = [visual.frame.image.copy() for visual in scene]
        list(evidence(asker(Red()), scene, INSTRUCTION, LEFT))
        list(occlusion(asker(Red()), scene, INSTRUCTION, LEFT, 2))
        assert all(np.array_equal(a, visual.frame.image) for a, visual in zip(before, scene, strict=True))


class TestWords:
    @staticmethod
    def subject(scene, *, allowed=None, reply=LEFT) -> Subject:
        probabilities = asker(Red())(scene, INSTRUCTION).probabilities
        now = Decision(ACTIONS[reply], 2, probabilities=probabilities, reply=SENTENCES[reply])
        return Subject(1.5, INSTRUCTION, scene, allowed or (True,) * len(SENTENCES), now)

    def told(self, scene, subject) -> str:
        ask = asker(Red())
        rows = list(evidence(ask, scene, INSTRUCTION, subject.explained))
        *_, covered = occlusion(ask, scene, INSTRUCTION, subject.explained, 4)
        return paragraph(subject, SCRIPTED_INFO, rows, covered, Recording())

    def test_a_decision_in_a_paragraph(self, scene):
        told = self.told(scene, self.subject(scene))
        assert "At 1.50 s scripted was told “Go to the red chair” and shown" in told, "as it went in"
        assert "3 images, the oldest first, with 4, 4, 196 visual tokens; 1 of them black" in told
        assert "It answered left 15°" in told and "image 3 matters most" in told and "“red” matters most" in told
        assert "Covering the patch at the top left" in told and told.endswith(CAUTION)
        assert "reason" in CAUTION and "evidence by leaving out" in CAUTION

    def test_where_the_guard_took_another_the_models_own_answer_is_explained(self, scene):
        allowed = tuple(index != LEFT for index in range(len(SENTENCES)))
        subject = self.subject(scene, allowed=allowed, reply=5)
        assert subject.answer == SENTENCES[LEFT] and subject.reply == SENTENCES[5]
        assert guard_sentence(subject) == (
            "Ruled out was left 15°: it had just led nowhere on this spot, or a second look spoke against it. So left "
            "30° was taken instead."
        )
        assert "It answered left 15°" in self.told(scene, subject)

    def test_a_guard_that_changed_nothing(self, scene):
        allowed = tuple(index != STOP + 1 for index in range(len(SENTENCES)))
        assert guard_sentence(self.subject(scene, allowed=allowed)).endswith("That changed nothing here.")
        assert guard_sentence(self.subject(scene)) == "Nothing was ruled out."


@pytest.fixture(scope="module")
def run() -> Run:
    backend = load_backend("torch", EMBEDDED_CHECKPOINT)
    made = make_run(backend, 4)
    backend.close()
    return made


def explained(capsys, *arguments):
    status = vila(["explain", *map(str, arguments), "--patches", "2"])
    lines = capsys.readouterr().out.splitlines()
    return status, " ".join(lines[:-1]), json.loads(lines[-1])


class TestARecordedDecision:
    def test_by_time_and_by_number(self, tmp_path, capsys, run):
        bag, out = run.write(tmp_path / "bag"), tmp_path / "made" / "explanation.png"
        status, told, report = explained(capsys, bag, "--at", "1.6", "--out", out)
        assert (status, report["decision"], report["reply"]) == (0, 3, run.decisions[2].reply)
        shares = [report["probabilities"][sentence] for sentence in SENTENCES]
        assert shares == pytest.approx(run.decisions[2].probabilities, abs=1e-5)
        assert report["instruction"] == INSTRUCTION and report["tokens"] == [4, 4, 4, 16]
        assert {row["kind"] for row in report["evidence"]} == {FRAME, WORD, PICTURE}
        assert len(report["occlusion"]) == len(report["occlusion"][0]) == 2
        assert all(len(row["probabilities"]) == len(SENTENCES) for row in report["evidence"])
        assert "not the model's reason" in told and "The governor let all of it pass." in told
        with Image.open(out) as picture:
            assert picture.format == "PNG" and picture.width == 1280 and picture.height > 600
        by_number = explained(capsys, bag, "--decision", "3", "--out", out)[2]
        assert by_number == report

    def test_something_else_asked_of_it(self, tmp_path, capsys, run):
        bag, out = run.write(tmp_path / "bag"), tmp_path / "a.png"
        said = {sentence: number for number, sentence in enumerate(SENTENCES)}
        for number in range(1, 5):
            words = ("--decision", number, "--instruction", "go to the green plant", "--out", out)
            _, told, report = explained(capsys, bag, *words)
            assert report["instruction"] == "go to the green plant" and report["reply"] in said
            assert ("Recorded was" in told) == (report["reply"] != report["recorded"])
            assert ("The governor" in told) == (report["reply"] == report["recorded"])

    def test_what_the_governor_did_is_told(self, tmp_path, capsys, run):
        stopped = message(GOVERNOR, header=header(0), state=3, reason=6, detail="scan: something is near")
        messages = [(t, topic, stopped if topic == "/governor/state" else one) for t, topic, one in run.messages]
        bag = Run(messages).write(tmp_path / "bag")
        told = explained(capsys, bag, "--decision", "2", "--out", tmp_path / "a.png")[1]
        assert "The governor let nothing pass in 100% of that time: scan: something is near." in told

    def test_a_hold_and_no_report_are_told(self, tmp_path, run):
        held = altered(run, 2, hold_reason=11, detail="0.100 is below 0.2")
        recording = read_recording(held.write(tmp_path / "bag"), "", iter)
        now = Decision(ACTIONS[0], 2, probabilities=run.decisions[1].probabilities, reply=run.decisions[1].reply)
        subject = Subject(1.0, INSTRUCTION, (), (True,) * 10, now, recording.decisions[1])
        assert next(aftermath(subject, recording)) == "The robot held instead: low_probability (0.100 is below 0.2)."

    def test_of_a_stream_and_of_a_folder(self, tmp_path, capsys, run):
        is_frame = lambda topic: topic == "/navigator/frames/compressed"  # noqa: E731
        bag = run.write(tmp_path / "bag", drop=is_frame)
        assert explained(capsys, bag, "--decision", "3", "--out", tmp_path / "a.png")[2]["decision"] == 3
        for number in range(4):
            Image.fromarray(make_frame(number, height=48, width=64).image).save(tmp_path / f"{number}.png")
        words = ("--instruction", INSTRUCTION, "--out", tmp_path / "out" / "b.png")
        report = explained(capsys, tmp_path, "--at", "2.5", *words)[2]
        assert (report["at_s"], report["decision"]) == (2.0, None)

    def test_what_cannot_be_explained_leaves_no_picture(self, tmp_path, capsys, run):
        bag, out = run.write(tmp_path / "bag"), tmp_path / "a.png"
        for arguments, words in (
            (["--decision", "99"], "holds decisions 1 to 4"),
            (["--at", "0.1"], "the first decision of"),
            (["--patches", "0"], "must be 1 to 32"),
            (["--checkpoint", "gone"], "gone"),
        ):
            assert vila(["explain", str(bag), *arguments, "--out", str(out)]) == 2
            assert words in capsys.readouterr().err
        gone = run.write(tmp_path / "gone", drop=lambda topic: topic.startswith("/navigator/frames"))
        assert gone.exists() and not out.exists()

    def test_blank_frames_stay_blank(self, scene):
        seen: list[bool] = []

        class Looks(Red):
            def choose(self, prompt, replies) -> Choice:
                seen.append(is_blank(prompt.visuals[0].frame))
                return super().choose(prompt, replies)

        list(evidence(asker(Looks()), scene, INSTRUCTION, LEFT))
        assert all(seen)
