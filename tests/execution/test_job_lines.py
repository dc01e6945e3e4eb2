"""The workflow's screen: a line per job, and everything else as it was."""

import io
import logging

import pytest

from robustfl.execution.job_lines import JobLines

PROGRESS = "%(done)s of %(total)s steps"


class Plain(logging.Formatter):
    """As snakemake's: it makes the text of a progress record from its attributes."""

    def format(self, record):
        return PROGRESS % vars(record) if getattr(record, "event", "") == "progress" else record.msg


@pytest.fixture
def screen(tmp_path):
    """A logger with a screen and a file, and the screen's text."""
    logger = logging.Logger("workflow")
    stream = io.StringIO()
    for handler in (logging.StreamHandler(stream), logging.FileHandler(tmp_path / "log")):
        handler.setFormatter(Plain())
        logger.addHandler(handler)
    JobLines.install(logger)
    yield logger, stream
    for handler in logger.handlers:
        handler.close()


def test_a_job_is_a_line_when_it_ends(screen, tmp_path):
    logger, stream = screen
    logger.info("Select jobs to execute...")
    logger.info("Execute 2 jobs...", extra={"event": "job_started", "jobs": [3, 4]})
    for number, name in ((3, "one"), (4, "two")):
        about = {"event": "job_info", "jobid": number, "rule_name": "train"}
        logger.info("rule train", extra=about | {"wildcards": {"scale": "smoke", "name": name}})
    about = {"event": "job_info", "jobid": 5, "rule_name": "tables", "wildcards": None}
    logger.info("rule tables", extra=about)

    for done, number in enumerate((4, 3, 5), 1):
        logger.info("Finished", extra={"event": "job_finished", "job_id": number})
        logger.info(None, extra={"event": "progress", "done": done, "total": 3})
    assert stream.getvalue().splitlines() == [
        "1 of 3 steps: train two",
        "2 of 3 steps: train one",
        "3 of 3 steps: tables",
    ]
    assert len((tmp_path / "log").read_text().splitlines()) == 11, "the file keeps all"


def test_errors_and_messages_pass(screen):
    logger, stream = screen
    logger.error("Error in rule train: its log", extra={"event": "job_error"})
    logger.info("Elapsed time: 0:00:01")
    assert stream.getvalue() == "Error in rule train: its log\nElapsed time: 0:00:01\n"
