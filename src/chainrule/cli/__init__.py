"""The command line."""

from chainrule.cli.spare_threads import settle_for_one_thread

settle_for_one_thread()  # here, for all else in this room imports NumPy
