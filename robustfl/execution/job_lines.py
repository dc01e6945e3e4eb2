"""A line per finished job on the screen of the workflow, which by itself prints a dozen."""

from __future__ import annotations

import logging

# What snakemake's logger says of a job beside its end: `event` of its records.
DROPPED = ("job_info", "job_started", "job_finished")
CHOOSING = "Select jobs to execute..."  # a record without an event


class JobLines(logging.Formatter):
    """A filter and formatter that makes `n of N steps done` and a job's name one line.

    Errors, warnings and everything that is no job pass as `plain` has them, the formatter that was
    there before. It belongs to the screen's handler alone: the log file keeps every line.
    """

    def __init__(self, plain: logging.Formatter) -> None:
        super().__init__()
        self.plain = plain
        self.names: dict[int, str] = {}  # of jobs that have begun, by their number
        self.done = ""  # the job that ended last: its progress follows at once

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record reaches the screen; the names of jobs are taken from those that do not.

        A record's further attributes are those of snakemake's logger plugins.
        """
        about = record.__dict__
        event = about.get("event")
        if event == "job_info":
            name = dict(about["wildcards"] or {}).get("name")
            self.names[about["jobid"]] = " ".join(filter(None, (about["rule_name"], name)))
        elif event == "job_finished":
            self.done = self.names.pop(about["job_id"], "")
        return event not in DROPPED and record.msg != CHOOSING

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record: its progress comes with the job that made it."""
        line = self.plain.format(record)
        return f"{line}: {self.done}" if record.__dict__.get("event") == "progress" else line

    @classmethod
    def install(cls, logger: logging.Logger) -> None:
        """Put one on every handler of a screen, which is a stream and no file."""
        for handler in logger.handlers:
            on_screen = isinstance(handler, logging.StreamHandler)
            if on_screen and not isinstance(handler, logging.FileHandler) and handler.formatter:
                lines = cls(handler.formatter)
                handler.addFilter(lines.filter)
                handler.setFormatter(lines)
