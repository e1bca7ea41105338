"""A run's model on the Hub: what is uploaded, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from alignkit.data.sources.hub import HUB_ID
from alignkit.errors import HubError, RunFolderError, shown
from alignkit.evaluation.records import SAMPLES
from alignkit.folder import EVALUATIONS, RECIPE
from alignkit.lazy import huggingface_hub
from alignkit.models.loading import reason_of
from alignkit.use.trained import Trained

KNOWN = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("vocab.txt", "merges.txt", "*.model", "chat_template.jinja", "README.md"),
)
"""Files of a saved model that are uploaded: weights, tokenizer, configuration, card."""

_TEXTS = ("README.md", RECIPE, "config.json", "adapter_config.json")
_PATH = re.compile(r"(?<![\w:/.~*-])/(?:[\w.+-]+/)+[\w.+-]+")
"""An absolute path in a text; what follows a scheme is none."""


@dataclass(frozen=True)
class Upload:
    """What will be on the Hub.

    Attributes:
        hub_id: owner/name.
        files: name there -> file here.
    """

    hub_id: str
    files: Mapping[str, Path]

    def lines(self) -> Iterator[str]:
        """Each file with its size, and what the user should know before it is public."""
        sizes = {name: path.stat().st_size for name, path in self.files.items()}
        yield f"to {self.hub_id}: {len(sizes)} files, {sum(sizes.values()):,} bytes"
        yield from (f"  {name}  {size:,}" for name, size in sizes.items())
        named = {name: found[0] for name in _TEXTS if (found := self._paths(name))}
        if named:
            some = next(iter(named.values()))
            yield f"note: files of this machine are named in {', '.join(named)}, such as {shown(some)}"

    def _paths(self, name: str) -> list[str]:
        path = self.files.get(name)
        return _PATH.findall(path.read_text(encoding="utf-8", errors="replace")) if path else []

    def send(self, *, private: bool, branch: str | None) -> str:
        """Uploads all of it as one commit, into a repository that is made if there is none.

        Args:
            private: make a new repository private; one that exists stays as it is.
            branch: where the commit goes; made if there is none. None takes the main one.

        Returns:
            Where the commit can be seen.

        Raises:
            HubError: the Hub says no, or nothing.
        """
        hub = huggingface_hub.HfApi(library_name="alignkit")
        additions = [
            huggingface_hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
            for name, path in self.files.items()
        ]
        try:
            hub.create_repo(self.hub_id, private=private or None, exist_ok=True)
            if branch is not None:
                hub.create_branch(self.hub_id, branch=branch, exist_ok=True)
            commit = hub.create_commit(self.hub_id, additions, commit_message="Upload with alignkit", revision=branch)
        except Exception as error:  # the Hub's, the network's and the client's own, with no base in common
            raise HubError(f"{self.hub_id}: the Hub has not taken it: {reason_of(error)}") from error
        return str(commit.commit_url)


def require_login() -> None:
    """Stops where nothing can be uploaded.

    Raises:
        HubError: offline mode is on, or there is no token.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if huggingface_hub.get_token() is None:
        raise HubError("no token for the Hub; log in with `hf auth login` or set HF_TOKEN")


def upload_of(trained: Trained, hub_id: str, model: Path, *, with_samples: bool) -> Upload:
    """What of a model and its run is uploaded.

    Args:
        trained: the model.
        hub_id: owner/name.
        model: the folder that holds it, or what was merged from it.
        with_samples: the sampled responses too, with the prompts of the held-out rows.

    Raises:
        HubError: `hub_id` cannot be one.
        RunFolderError: the run is not finished, or the folder holds no model.
    """
    if not HUB_ID.fullmatch(hub_id):
        raise HubError(f"{shown(hub_id)} is no place on the Hub; give owner/name")
    trained.require_finished()
    if not model.is_dir():
        raise RunFolderError(f"{shown(str(model))}: no such folder; give a run, or a model's folder")
    files = {
        path.name: path
        for path in sorted(model.iterdir())
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in KNOWN)
    }
    if not any(name.endswith(".safetensors") for name in files):
        raise RunFolderError(f"{model}: holds no weights as .safetensors")
    records = (RECIPE, EVALUATIONS, *((SAMPLES,) if with_samples else ()))
    if trained.run is not None:
        files |= {name: trained.run / name for name in records if (trained.run / name).is_file()}
    return Upload(hub_id, files)
