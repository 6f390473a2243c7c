"""What the settings are to people, where the source that explains them is not there."""

import py_compile
import subprocess
import sys
from pathlib import Path

import shoal_server.config
from shoal_server.config import OPTIONS

CONFIG = Path(shoal_server.config.__file__).parent


def test_where_only_what_is_compiled_was_kept_all_can_be_set_and_nothing_is_explained(tmp_path: Path) -> None:
    package = tmp_path / "shoal_server"
    for name in ("__init__", "options", *(f"config/{path.stem}" for path in CONFIG.glob("*.py"))):
        py_compile.compile(str(CONFIG.parent / f"{name}.py"), str(package / f"{name}.pyc"), doraise=True)
    script = "from shoal_server.config import OPTIONS; print({option.why for option in OPTIONS.values()}, len(OPTIONS))"
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert found.stdout.split() == ["{''}", str(len(OPTIONS))]
