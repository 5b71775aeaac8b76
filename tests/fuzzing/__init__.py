"""Fuzzing of everything that reads a file, guided by coverage: ``scripts/fuzz [SECONDS]``.

An input is a string of bytes that makes choices (:mod:`fuzzing.choices`): which golden file or table to begin with,
what to change in its tree, arrays, cells or bytes; the file is then sealed with the checksum that belongs to it.
Atheris changes the bytes and keeps what reaches new branches of chainrule (:mod:`fuzzing.guided`). What was read is
used too: it predicts, resumes, trains, is shown, is read again. Only a documented error may result, or it works,
within seconds and bytes (:mod:`fuzzing.limits`).

A target needs no atheris: ``python -m fuzzing --again FILE`` tries what was found, and the tests try a few inputs.
"""
