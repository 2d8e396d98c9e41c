"""Makes demo.svg, the picture in the README, out of what `ci-identity demo` prints."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

BLACK, RED, GREEN, YELLOW = (36, 41, 47), (207, 34, 46), (17, 99, 41), (154, 103, 0)
BLUE, PURPLE, TEAL, GREY = (9, 105, 218), (130, 80, 223), (27, 124, 131), (110, 119, 129)
LIGHT = TerminalTheme((250, 250, 250), BLACK, [BLACK, RED, GREEN, YELLOW, BLUE, PURPLE, TEAL, GREY])

demo = subprocess.run(  # our own command
    [sys.executable, "-m", "ci_identity", "demo"],
    env={"PATH": os.environ["PATH"], "FORCE_COLOR": "1"},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
)
console = Console(record=True, width=140, file=io.StringIO())
console.print(Text.from_ansi(demo.stdout.strip("\n")))
svg = console.export_svg(title="ci-identity demo", theme=LIGHT)
svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from elsewhere
svg = svg.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono")
svg = re.sub(r"terminal-\d+", "demo", svg)  # a hash of the text, which would make diffs of it all
Path(__file__).with_name("demo.svg").write_text(svg)
