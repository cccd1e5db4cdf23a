"""A Parquet file that is there whole or not at all."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any


class ParquetFile:
    """Writes a Parquet file piece by piece under a temporary name, which ``finish`` turns into its own.

    A file of that name from before stays untouched until then. Nothing in the file depends on the time or place of
    writing. Pages carry checksums, so that damaged ones are noticed when they are read.

    As a context manager it finishes the file, or discards it where the block raised.

    Args:
        path: where the file will be.
        schema: the ``pyarrow.Schema``, with its metadata.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        from pyarrow import parquet

        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._stream = self.temporary.open("wb")
        try:
            self._writer = parquet.ParquetWriter(self._stream, schema, use_dictionary=False, write_page_checksum=True)
        except BaseException:
            self._remove()
            raise

    def append(self, rows: Any) -> None:
        """Write the rows of a ``pyarrow.Table`` or ``RecordBatch`` to disk."""
        self._writer.write(rows)

    def finish(self) -> None:
        """Flush what was written to disk and give the file its name; on failure it is discarded."""
        try:
            self._writer.close()
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            os.replace(self.temporary, self.path)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written."""
        self._writer.is_open = False  # else its destructor would write the end of a file that is gone
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()
