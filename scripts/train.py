"""`chainrule train` as a script: ``python scripts/train.py --device cuda``; on the built-in digits by default."""

import sys
from pathlib import Path

try:
    from chainrule.__main__ import main
except ModuleNotFoundError:  # from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from chainrule.__main__ import main

arguments = sys.argv[1:]
if "--config" not in arguments and (not arguments or arguments[0].startswith("-")):
    arguments.insert(0, "digits")
sys.exit(main(["train", *arguments]))
