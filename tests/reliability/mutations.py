"""Damaged files, made from sound ones: what hypothesis draws from."""

from hypothesis import strategies as st

# Bytes and texts that readers trip over.
NASTY = (
    b"",
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\r",
    b"\n",
    b"\n\n",
    b"\t",
    b" ",
    b"_",
    b"-1",
    b"0",
    b"1",
    b"99999999999999999999",
    b"1-2",
    b"1.1",
    b"nan",
    b"inf",
    b"1e39",
    b"1e400",
    b"#",
    b"=",
    b"@",
    b"%",
    b"'",
    b"(",
    b"\xef\xbb\xbf",
    "\u0085\u2028\u00a0\u200b".encode(),
    "٣".encode(),
    "²".encode(),
    "\U0001f600".encode(),
)

pieces = st.one_of(st.sampled_from(NASTY), st.binary(max_size=4))


@st.composite
def damaged(draw, originals):
    """Draws one of some byte strings, after one to four changes."""
    data = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        data = draw(st.sampled_from(CHANGES))(draw, data)
    return data


def _replace_bytes(draw, data):
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 12)))
    return data[:start] + draw(pieces) + data[stop:]


def _truncate(draw, data):
    return data[: draw(st.integers(0, len(data)))]


def _change_lines(draw, data):
    lines = data.split(b"\n")
    i = draw(st.integers(0, len(lines) - 1))
    j = draw(st.integers(0, len(lines) - 1))
    what = draw(st.sampled_from(("copy", "delete", "swap")))
    if what == "copy":
        lines.insert(j, lines[i])
    elif what == "delete":
        del lines[i]
    else:
        lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _change_field(draw, data):
    lines = data.split(b"\n")
    i = draw(st.integers(0, len(lines) - 1))
    separator = b"\t" if b"\t" in lines[i] else b" "
    fields = lines[i].split(separator)
    fields[draw(st.integers(0, len(fields) - 1))] = draw(pieces)
    lines[i] = separator.join(fields)
    return b"\n".join(lines)


def _change_line_ends(draw, data):
    del draw
    return data.replace(b"\n", b"\r\n")


CHANGES = (
    _replace_bytes,
    _truncate,
    _change_lines,
    _change_field,
    _change_field,
    _change_line_ends,
)
