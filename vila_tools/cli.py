"""The console script `vila`: a table of subcommands, each imported only when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from vila_tools.ending import INPUT_ERROR, fail, run_program


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: the "module:function" that runs it and one line of help."""

    target: str
    help: str

    def load(self) -> Callable[[list[str]], int]:
        """Import the function that runs the command. Raises ModuleNotFoundError."""
        module, function = self.target.split(":")
        return getattr(importlib.import_module(module), function)


COMMANDS = {
    "demo": Command("vila_tools.demo.run:main", "drive a simulated robot to what you name, on real ROS 2"),
    "demo-events": Command("vila_tools.demo.events:main", "a simulated patrol in which things happen and are reported"),
    "inject": Command("vila_tools.inject.run:main", "a fault drill: does the robot stand, and how soon"),
    "robots": Command("vila_tools.robots.run:main", "robots that there are recipes of; whether a recipe is right"),
    "world": Command("vila_tools.world:main", "a flat with its robot as a file of Gazebo, Isaac Sim or MuJoCo"),
    "chat": Command("vila_tools.ask.chat:main", "ask a checkpoint about images and videos"),
    "decide": Command("vila_tools.ask.decide:main", "what a checkpoint would do next, with probabilities"),
    "serve": Command("vila_tools.server.run:main", "a checkpoint behind OpenAI's chat completions"),
    "fit": Command("vila_tools.fit.run:main", "whether a checkpoint fits a device, and a step's time there"),
    "info": Command("vila_tools.checkpoint.info:main", "a checkpoint's family, sizes, tokens per frame and memory"),
    "make-random": Command("vila_tools.checkpoint.make_random:main", "write a checkpoint of a known shape at random"),
    "engine export": Command("vila_tools.engine.export:main", "a checkpoint as ONNX files, for TensorRT"),
    "engine build": Command("vila_tools.engine.build:main", "TensorRT engines of them, on the robot itself"),
    "quantize": Command("vila_tools.quantize.run:main", "write a checkpoint with 4-bit or 8-bit weights"),
    "parity": Command("vila_tools.parity.run:main", "how far off the official code's reference data we are"),
    "agree": Command("vila_tools.evaluation.agreement:main", "how far two precisions, or two models, decide alike"),
    "reference": Command(
        "vila_tools.reference.run:main", "write docs/reference.md and the SROS2 policy from the code; --check compares"
    ),
    "data": Command(
        "vila_tools.training.data_sets:episodes_main",
        "write the training set: episodes of the oracle in simulated flats",
    ),
    "episodes": Command("vila_tools.evaluation.write_episodes:main", "write the benchmark's episode files again"),
    "clips": Command(
        "vila_tools.training.data_sets:clips_main",
        "write films of flats in which things happen, with questions and answers",
    ),
    "train": Command("vila_tools.training.train:main", "train vila-nano on that set; resumes where it was stopped"),
    "label": Command("vila_tools.label.run:main", "a bag of your robot's drives as training samples"),
    "finetune": Command(
        "vila_tools.finetune.run:main", "teach a checkpoint from such samples: LoRA, norms or all of it"
    ),
    "merge": Command("vila_tools.finetune.merge:main", "an adapter and its base as one checkpoint"),
    "train-events": Command("vila_tools.training.train_events:main", "teach a checkpoint when things happen"),
    "train-names": Command("vila_tools.training.train_names:main", "show a checkpoint many more things by their names"),
    "train-distances": Command(
        "vila_tools.training.train_distances:main", "teach a checkpoint how far off things are, and what floor is free"
    ),
    "bench events": Command("vila_tools.evaluation.events:main", "when did it happen: clips, baselines, a patrol"),
    "bench events-cost": Command("vila_tools.benchmark.events_cost:main", "ten standing queries beside one"),
    "record": Command("vila_tools.record:main", "keep what a robot that runs sees, decides and does, as bags"),
    "doctor": Command("vila_tools.doctor.run:main", "what is wrong with a robot that runs, or in a bag; what to do"),
    "replay": Command(
        "vila_tools.replay.run:main", "a recorded run decided again: the same, or where it differs first"
    ),
    "explain": Command("vila_tools.explain.run:main", "what a recorded decision depends on, as a picture and in words"),
    "bag": Command("vila_tools.bags.video:main", "write a video file as a bag of camera images"),
    "play": Command("vila_tools.bags.player:main", "play a bag's images to a node, as if a camera took them now"),
    "bench history": Command("vila_tools.evaluation.history:main", "what a checkpoint does with another history"),
    "bench load": Command("vila_tools.benchmark.load:main", "time and peak memory of loading a checkpoint"),
    "bench step": Command("vila_tools.benchmark.step:main", "a step, or a quantized model's parts, beside the peers"),
    "bench gpu": Command("vila_tools.benchmark.gpu.run:main", "4-bit decoding, 8-bit tower and decisions on a GPU"),
    "bench flat": Command("vila_tools.benchmark.flat:main", "time and memory of a step over a run of 2,000 frames"),
    "bench nav": Command("vila_tools.ros_navigation.choose:main", "navigate unseen episodes; here, or with --ros"),
    "bench drive": Command("vila_tools.evaluation.driving:main", "the whole chain without ROS, with physics"),
    "bench recall": Command(
        "vila_tools.evaluation.recall:main", "where was it last seen? unseen flats beside baselines"
    ),
    "bench voice": Command("vila_tools.evaluation.voice:main", "spoken instructions, stops, and other talk"),
    "bench signs": Command("vila_tools.evaluation.signs:main", "navigate with and without words on the walls"),
    "bench miniworld": Command(
        "vila_tools.other_worlds.miniworld:main", "navigate MiniWorld's rooms, beside baselines"
    ),
    "bench babyai": Command("vila_tools.other_worlds.babyai:main", "which of BabyAI's sentences are understood"),
    "bench video": Command(
        "vila_tools.benchmark.ros_video:main", "a bag played to the node, with standing queries: time, memory"
    ),
    "bench ros": Command(
        "vila_tools.benchmark.ros_overhead:main", "what ROS adds to a decision; decisions a second without"
    ),
    "bench governor": Command(
        "vila_tools.benchmark.governor:main", "how soon the governor is there, how evenly it ticks beside busy programs"
    ),
    "bench serve": Command("vila_tools.benchmark.serving:main", "many robots at one server: delays, losses, memory"),
    "bench soak": Command(
        "vila_tools.benchmark.soak:main", "two cameras and standing queries for long: memory, ages, deadlines"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vila SUBCOMMAND ...` and return the exit status.

    2: unknown command, bad input, a missing library or what the machine refuses, told in one line. 70: a bug.
    130: interrupted. 141: nobody reads what it prints. 143: terminated.
    """
    return run_program(partial(_command, list(sys.argv[1:] if argv is None else argv)))


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else INPUT_ERROR
    name = _command_name(arguments)
    if name is None:
        return fail(f"unknown command {' '.join(arguments[:2])!r}; known: {', '.join(COMMANDS)}")
    return COMMANDS[name].load()(arguments[len(name.split()) :])


def usage() -> str:
    """Return the help text: one line for each command."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    last = "`vila COMMAND --help` tells a command's options."
    return "\n".join(["usage: vila COMMAND [OPTIONS]", "", *rows, "", last])


def _command_name(arguments: list[str]) -> str | None:
    candidates = (" ".join(arguments[:words]) for words in (2, 1))
    return next((name for name in candidates if name in COMMANDS), None)


if __name__ == "__main__":
    sys.exit(main())
