"""Mask secrets in a stream that comes in any pieces, and hold back no byte that need not wait."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable

from ci_identity.errors import ConfigurationError, ShortSecretError
from ci_identity.redaction.hold import Beginnings
from ci_identity.redaction.needles import MIN_SECRET, encode, spellings
from ci_identity.redaction.scan import Scanner, Span, stretches
from ci_identity.redaction.view import STRING, TerminalView, View
from ci_identity.secret import Secret

TYPE_CHECKING = False  # as in ci_identity/__init__.py
if TYPE_CHECKING:
    from typing import Literal

    Mode = Literal["default", "fast"]

MIN_PARTIAL = 8
"""Bytes. From here on the beginning of a secret is masked at the end of the stream, not shown."""

SOON = 1 << 13
_CALL = 100
"""Bytes of output from which on an index pays, and how many of them one look is worth. To search
for every needle in twice as many costs as much as an index, and many commands print less."""

_MUCH = 1 << 12
"""Bytes. The view of less than that is had before anything is proved."""

_VIEWS: "dict[Mode, type[View]]" = {"default": TerminalView, "fast": View}
MODES = tuple(_VIEWS)


class Redactor:
    """Puts a mask in the place of every secret, in every spelling of it.

    What is masked is the union of all occurrences; stretches that overlap or touch get one mask,
    and masks are never looked at again. Held back is only the longest end of the stream that may
    still become a secret. The output depends on the bytes alone, not on how they were cut into
    pieces, but for one thing: in mode `default` a line end is never held back for the sake of
    under 8 bytes, so that these few show where a secret is wrapped *and* written in two pieces.

    Args:
        secrets: the values; empty and blank ones are ignored.
        mask: what is written in their place.
        mode: `default` also finds what escape sequences or line wraps split; `fast` does not look.

    Raises:
        ShortSecretError: a value has under 6 bytes.
        ConfigurationError: there is no such mode.
    """

    def __init__(
        self,
        secrets: Iterable[Secret | str] = (),
        *,
        mask: str = "[MASKED]",
        mode: "Mode" = "default",
    ) -> None:
        if mode not in _VIEWS:
            message = f"there is no redaction mode {mode!r}: choose default or fast"
            raise ConfigurationError(message)
        self._view = _VIEWS[mode]
        self._mask = mask.encode()
        self._needles: dict[bytes, bytes] = {}  # and of each what to look for
        self._is_ever_swallowed = False  # whether an escape sequence can hold one of them whole
        self._known = -1  # how many of them there were when last looked
        self._scanner: Scanner | None = None  # the index, if there is one
        self._looked = 0  # in how many bytes they were looked for without
        self._tail = b""  # what may still become part of a secret
        self._done = 0  # how much of the tail the output accounts for already
        self._is_open = False  # whether the output ends with a mask
        for secret in secrets:
            self.add(secret)

    def add(self, secret: Secret | str, *, name: str = "a value") -> None:
        """Mask this one too, from here on; another thread than the one that feeds may call it.

        Args:
            secret: the value; ignored if empty or blank.
            name: what the message calls it, say the key in the grant.

        Raises:
            ShortSecretError: it has under 6 bytes.
        """
        value = encode(secret.reveal() if isinstance(secret, Secret) else secret).strip()
        if not value:
            return
        if len(self._view.needle(value)) < MIN_SECRET:
            message = f"{name} is too short to be masked: it has under {MIN_SECRET} bytes"
            raise ShortSecretError(message)
        seen = {self._view.needle(form) for form in spellings(value)}
        needles = sorted((needle for needle in seen if len(needle) >= MIN_SECRET), key=len)
        cores: dict[bytes, bytes] = {}
        shortest: list[bytes] = []
        for needle in needles:
            core = self._view.core(needle)
            self._is_ever_swallowed |= not core
            core = core or needle
            # a text without the shorter core is without the longer one that contains it (their
            # ends come first, because `in` takes long to prepare for thousands of bytes)
            contained = (short for short in shortest if short[-8:] in core and short in core)
            cores[needle] = next(contained, core)
            if cores[needle] is core:
                shortest.append(core)
        self._needles |= cores

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the stream and return those that can be shown by now."""
        self._take_new()
        view = self._view(self._tail + data)
        start, held = self._held(view)
        until = view.line_end(start) if held < MIN_PARTIAL else start
        takes_long = len(view.raw) > _MUCH and view.has_escapes
        if takes_long and self._scanner and self._scanner.rules_out(view.raw):
            shown = self._show(View(view.raw), [], until)
        else:
            shown = self._show(view, self._hits(view), until)
        self._done -= start
        self._tail = view.raw[start:]
        return shown

    def finish(self) -> bytes:
        """Return the rest at the end of the stream; the beginning of a secret is masked."""
        self._take_new()
        view = self._view(self._tail)
        start, held = self._held(view)
        hits = self._hits(view)
        if held >= MIN_PARTIAL:
            hits = _merged([*hits, (start, view.end)])
        shown = self._show(view, hits, view.end) + self._masked(view.raw[view.end :])
        self._tail, self._done, self._is_open = b"", 0, False
        return shown

    def _take_new(self) -> None:
        """Look for the needles that were added, from now on: at once, however many they are."""
        if len(self._needles) == self._known:
            return
        needles = dict(self._needles)  # another thread may add more while this goes on
        self._by_core: dict[bytes, list[bytes]] = defaultdict(list)
        for needle, core in needles.items():
            self._by_core[core].append(needle)
        self._beginnings = Beginnings(needles)
        self._scanner, self._looked = None, 0
        self._known = len(needles)

    def _found(self, text: bytes) -> set[bytes]:
        """Return the cores that `text` holds."""
        if not self._scanner:
            self._looked += len(text) + _CALL
            if self._looked < SOON:
                return {core for core in self._by_core if core in text}
            self._scanner = index(self._by_core)
        return self._scanner.found(text)

    def _held(self, view: View) -> tuple[int, int]:
        """Return where what must wait begins in `view.raw`, and how much of a secret it shows."""
        held = self._beginnings.longest(view.ending, lambda: view.text)
        start = view.tail(held)
        if line := view.coloured_line:  # an escape sequence may have eaten the first bytes of it
            also = self._beginnings.longest(line)
            start, held = min(start, view.sequence(view.end - also)), max(held, also)
        return start, held

    def _hits(self, view: View) -> list[Span]:
        cores = self._found(view.text)
        raw = view.raw[: view.end]
        if view.has_strings or (view.hides and self._is_ever_swallowed):
            cores |= self._found(raw)
        if not cores:
            return []
        hits = seen = self._occurrences(cores, view.text)
        if raw != view.text:
            hits = self._occurrences(cores, raw)
            is_eaten = view.hides and any(view.sequence(start) != start for start, _ in hits)
            if is_eaten or _sizes(hits) != _sizes(seen):  # else nothing lies in them
                hits += view.spans(seen)
        return _merged(hits)

    def _occurrences(self, cores: Iterable[bytes], text: bytes) -> list[Span]:
        """Return the stretches of `text` that are needles with these cores."""
        return [
            hit
            for core in cores
            for needle in self._by_core[core]
            for hit in stretches(text, needle)
        ]

    def _show(self, view: View, hits: list[Span], until: int) -> bytes:
        """Return the output for `view.raw` from `_done` up to `until`, or to a hit's end beyond."""
        shown: list[bytes] = []
        at = self._done
        for start, end in hits:
            if start >= until:
                break
            if end <= at:
                continue
            if start > at:
                shown.append(self._strings_masked(view, view.raw[at:start]))
                self._is_open = False
            if not self._is_open:
                shown.append(self._mask)
                self._is_open = True
            shown.append(self._strings_masked(view, view.kept(max(at, start), end)))
            at = end
        if at < until:
            shown.append(self._strings_masked(view, view.raw[at:until]))
            self._is_open = False
        self._done = max(at, until)
        return b"".join(shown)

    def _strings_masked(self, view: View, piece: bytes) -> bytes:
        """Return `piece`, masked where escape sequences carry text: titles and links are unseen."""
        if not view.has_strings or not self._found(b"".join(re.findall(STRING, piece))):
            return piece
        return re.sub(STRING, lambda string: self._masked(string[0]), piece)

    def _masked(self, piece: bytes) -> bytes:
        """Return `piece` with every secret in it masked, and the beginning of one at its end."""
        hits = self._occurrences(self._found(piece), piece)
        held = self._beginnings.longest(piece)
        if held >= MIN_PARTIAL:
            hits.append((len(piece) - held, len(piece)))
        shown: list[bytes] = []
        at = 0
        for start, end in _merged(hits):
            shown += piece[at:start], self._mask
            at = end
        return b"".join((*shown, piece[at:]))


def index(needles: Collection[bytes]) -> Scanner:
    """Return an index of `needles`, by the quickest engine that can be had; it is imported now."""
    try:
        from ci_identity.redaction import simd  # noqa: PLC0415  # 5 MB and 3 ms

        return simd.Scanner(needles)  # type: ignore[return-value]  # has the same methods
    except Exception:  # noqa: BLE001  # not installed, or broken: that costs time, and no output
        return Scanner(needles)


def _sizes(hits: Iterable[Span]) -> list[int]:
    return [end - start for start, end in hits]


def _merged(hits: Iterable[Span]) -> list[Span]:
    """Return the union of `hits`, in order, as stretches that neither overlap nor touch."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(hits):
        if ends and start <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return list(zip(starts, ends, strict=True))
