"""States of a device's firmware update."""

from __future__ import annotations

from span_events.events.activity import Reason, Severity


class FirmwareState(Reason):
    """States of a device's firmware update: the words of ``firmware.state``."""

    INITIALIZING = "Initializing", "An error was cleared: the device's next report decides what is to be done."
    PENDING = (
        "Pending",
        "An update waits: firmwareUpdateRequired follows the device's next report, then it should ask for the image.",
    )
    DOWNLOADING = "Downloading", "The device fetches the image; 'percent' tells how far it has come."
    UPDATING = (
        "Updating",
        "The image was served to its end: the device should install it, restart and report its new version.",
    )
    CURRENT = "Current", "Nothing is to be done."
    UPDATE_FAILED = (
        "UpdateFailed",
        "The device has the image and runs another version: look at its boot log, and at how both spell the version.",
        Severity.ERROR,
    )
    TIMED_OUT = (
        "TimedOut",
        (
            "Nothing new came for 'seconds' after 'block': look for coverage, power; with 'repeatedBlock', answers of "
            "'blockSize' octets do not arrive: let it ask for smaller blocks, or lower firmware.block_size."
        ),
        Severity.WARNING,
    )
    REVERTED = (
        "Reverted",
        "The device ran the wanted version and has left it: look at its boot log for why it gave the new one up.",
        Severity.ERROR,
    )
