"""A recipe on the built-in world, and a stand-in for the process of a run that is there at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alignkit.compare.folders import Folder
from alignkit.sweep import children, table

RECIPE = """\
model: {name: world, start: random}
data: {train: "builtin:world", world: {pairs: 16, eval_pairs: 8}}
losses:
  - {name: dpo, beta: 1.0}
trainer: preference
training: {steps: 2, batch_size: 4, micro_batch_size: 4, learning_rate: 1.0e-3}
evaluation: {pairs: 4, samples: 4, max_new_tokens: 4}
"""

CHILD = '''\
"""What `alignkit run` leaves behind, without a run: reward and KL are made of the recipe's settings."""
import json, os, re, signal, sys, time
from pathlib import Path

given = sys.argv[1:]
sets = dict(text.split("=", 1) for word, text in zip(given, given[1:]) if word == "--set")
run = Path(given[given.index("--output") + 1])
run.mkdir(parents=True, exist_ok=True)
ask = json.loads((Path(__file__).parent / "ask.json").read_text())
with (Path(__file__).parent / "begun.txt").open("a") as file:
    file.write(f"{run.name} {os.environ.get('OMP_NUM_THREADS')} {'--resume' in given}\\n")
print("step 1/2", flush=True)
if run.name in ask.get("fail", []):
    sys.exit("data.train: no file 'rows.jsonl'")
if run.name in ask.get("die", []):
    os.kill(os.getpid(), signal.SIGKILL)
if run.name in ask.get("stop", []) and not (run / "checkpoint").exists():
    def save(number, frame):
        (run / "checkpoint").write_text("saved")
        sys.exit(128 + number)
    signal.signal(signal.SIGTERM, save)
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
if together := ask.get("together", 0):
    (run / "here").touch()
    limit = time.monotonic() + 20
    while len(list(run.parent.glob("*/here"))) < together and time.monotonic() < limit:
        time.sleep(0.01)
    if time.monotonic() >= limit:
        sys.exit("alone")
beta, seed = float(sets.get("losses.0.beta", 1)), int(sets.get("seed", 0))
reward, kl = 0.5 + 0.1 / beta + 0.01 * seed, 0.2 / beta
after = {"true_reward": reward, "true_reward_se": 0.02, "kl": kl, "kl_se": 0.01, "samples": 4.0}
(run / "eval.json").write_text(json.dumps({"after": after}))
for name in ("checkpoints", "final"):
    (run / name).mkdir(exist_ok=True)
(run / "DONE").write_text("now")
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a sweep into the working folder, beside `recipe.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    def write(text: str) -> Path:
        Path("sweep.yaml").write_text(text)
        return Path("sweep.yaml")

    return write


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stand-in, which does what `ask.json` there says and notes in `begun.txt` that it began.

    It leaves no rows behind, so `eval.json` alone tells what it measured.
    """
    folder = tmp_path / "child"
    folder.mkdir()
    (folder / "child.py").write_text(CHILD)
    (folder / "ask.json").write_text("{}")
    monkeypatch.setattr(table, "read_folder", lambda path, moment: Folder(path, True, {}, None, {}, []))
    monkeypatch.setattr(children, "PROGRAM", (sys.executable, "-S", "-E", str(folder / "child.py")))
    return folder
