"""What pyproject.toml cannot say: the wheel carries `recipes/`, as `alignkit/shipped_recipes/`."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies the recipes beside the code; a checkout that is installed in place reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "alignkit", "shipped_recipes")
            shutil.copytree("recipes", target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))


setup(cmdclass={"build_py": BuildWithRecipes})
