# ruff: noqa: F821 - ptr8 and ptr32 are viper types
"""Frame to model input: pixel format, crop, resize. The same file runs on a board, a Pi and the host: same
bits.

Integers only. RGB565 widens by repeating its top bits; grey = (77 R + 150 G + 29 B + 128) >> 8. The resize is
an exact area average: in units where a source row is D high and an output row S high (S rows in, D rows out),
every overlap is an integer, so an output pixel is (sum of w_y * w_x * pixel + S_y*S_x/2) // (S_y*S_x),
rounding half up. It serves enlarging too, and is the identity when the sizes agree. Rows stream through: RAM
is two source rows and one row of sums.

    resize(frame, "rgb565", (160, 120), (32, 32, 3)) -> bytes      whole frames in memory (Pi, host, tests)
    Resizer(...).run(read_into, emit)                              streaming (board)
"""

from array import array

try:
    import micropython
except ImportError:  # CPython runs the viper source as ordinary Python

    class micropython:  # noqa: N801
        @staticmethod
        def viper(f):
            return f

    ptr8 = ptr32 = object

# format -> (bytes a pixel, code to make 1 channel of it, code for 3); rgb565 is high byte first (sensors)
FORMATS = {"gray8": (1, 0, 2), "rgb888": (3, 3, 1), "rgb565": (2, 4, 5), "rgb565le": (2, 6, 7)}


@micropython.viper
def _convert(dst: ptr8, src: ptr8, n: int, code: int):
    """n pixels of a source row to model channels, for layouts that differ (codes 2 to 7)."""
    hi = 0
    lo = 1
    if code >= 6:
        hi = 1
        lo = 0
    i = 0
    s = 0
    d = 0
    while i < n:
        if code == 2:
            r = g = b = src[i]
        elif code == 3:
            r = src[s]
            g = src[s + 1]
            b = src[s + 2]
            s += 3
        else:
            v = (src[s + hi] << 8) | src[s + lo]
            s += 2
            r = (v >> 8) & 0xF8
            g = (v >> 3) & 0xFC
            b = (v << 3) & 0xF8
            r = r | (r >> 5)
            g = g | (g >> 6)
            b = b | (b >> 5)
        if code == 3 or code == 4 or code == 6:
            dst[d] = (77 * r + 150 * g + 29 * b + 128) >> 8
            d += 1
        else:
            dst[d] = r
            dst[d + 1] = g
            dst[d + 2] = b
            d += 3
        i += 1


@micropython.viper
def _add_row(acc: ptr32, row: ptr8, weight: int, size: ptr32):
    """acc += weight * (horizontal sums of row); size: source columns, output columns, channels."""
    columns = size[0]
    out = size[1]
    channels = size[2]
    c = 0
    while c < channels:
        at = c
        to = c
        left = out
        j = 0
        while j < out:
            need = columns
            total = 0
            while need:
                w = left
                if w > need:
                    w = need
                total += w * row[at]
                need -= w
                left -= w
                if left == 0:
                    at += channels
                    left = out
            acc[to] = acc[to] + weight * total
            to += channels
            j += 1
        c += 1


@micropython.viper
def _clear(acc: ptr32, n: int):
    i = 0
    while i < n:
        acc[i] = 0
        i += 1


def centre_crop(size, out):
    """The largest centred (x, y, w, h) of a (width, height) frame with the aspect ratio of out = (h, w,
    c)."""
    width, height = size
    h, w = out[0], out[1]
    if width * h > height * w:
        cw, ch = max(1, height * w // h), height
    else:
        cw, ch = width, max(1, width * h // w)
    return (width - cw) // 2, (height - ch) // 2, cw, ch


class Resizer:
    """Streams frames of one format and size to the model's (height, width, channels); buffers allocated once.

    fmt: a key of FORMATS; size: (width, height); out: (height, width, channels), channels 1 or 3; crop: (x,
    y, w, h) or None for the centred one of the model's aspect ratio. ValueError names what does not fit.
    """

    def __init__(self, fmt, size, out, crop=None):
        if fmt not in FORMATS:
            raise ValueError("camera format " + str(fmt) + ": use one of " + ", ".join(sorted(FORMATS)))
        if out[2] not in (1, 3):
            raise ValueError("the model wants " + str(out[2]) + " channels; a camera gives 1 or 3")
        self.pixel, to1, to3 = FORMATS[fmt]
        self._code = to1 if out[2] == 1 else to3
        x, y, w, h = crop if crop else centre_crop(size, out)
        if x < 0 or y < 0 or w < 1 or h < 1 or x + w > size[0] or y + h > size[1]:
            raise ValueError("crop " + str((x, y, w, h)) + " leaves the frame of " + str(size))
        if w * h > 1 << 23:
            raise ValueError("crop of more than 8 Mpixel: the row sums would not fit 31 bits")
        self.frame_bytes = size[0] * size[1] * self.pixel
        self._stride = size[0] * self.pixel
        self.start = y * self._stride + x * self.pixel
        self.crop = (w, h)
        self.out = out
        self.source = bytearray(w * self.pixel)
        self.row = self.source if self._code < 2 else bytearray(w * out[2])
        n = out[1] * out[2]
        self._sums = array("I", bytes(4 * n))
        self._result = bytearray(n)
        self.size = array("I", (w, out[1], out[2]))

    def run(self, read_into, emit):
        """read_into(buf, offset) fills buf from the frame; emit(row) takes each output row (width*channels
        bytes)."""
        columns, rows = self.crop
        out_rows = self.out[0]
        n = len(self._result)
        area = columns * rows
        half = area // 2
        need = rows
        _clear(self._sums, n)
        for y in range(rows):
            read_into(self.source, self.start + y * self._stride)
            if self._code >= 2:
                _convert(self.row, self.source, columns, self._code)
            left = out_rows
            while left:
                weight = min(left, need)
                _add_row(self._sums, self.row, weight, self.size)
                left -= weight
                need -= weight
                if not need:
                    for i in range(n):
                        self._result[i] = (self._sums[i] + half) // area
                    emit(self._result)
                    _clear(self._sums, n)
                    need = rows


def resize(frame, fmt, size, out, crop=None):
    """A whole frame (bytes of fmt, size = (width, height)) to model input: bytes of out = (height, width,
    channels)."""
    view = memoryview(frame)
    resizer = Resizer(fmt, size, out, crop)
    if len(view) != resizer.frame_bytes:
        raise ValueError("frame of " + str(len(view)) + " bytes, expected " + str(resizer.frame_bytes))
    result = bytearray()

    def read_into(buf, offset):
        buf[:] = view[offset : offset + len(buf)]

    resizer.run(read_into, result.extend)
    return bytes(result)
