"""Reasons of the mobile network: refused attach requests and ended attachments."""

from __future__ import annotations

from span_events.events.activity import Reason


class CiotDisconnectReason(Reason):
    """Reasons for the end of an attachment to the mobile network."""

    STOP = (
        "stop",
        "The network ended the session for 'cause': if the device did not mean to leave, look at coverage and power.",
    )
    REPLACED = (
        "replaced",
        "Its SIM attached anew without a detach: a reboot, coverage lost for long, or (imeiMismatch) other hardware.",
    )
    ADDRESS_REASSIGNED = (
        "addressReassigned",
        "The mobile core gave the address to another device; this one must attach again.",
    )
    NAS_RESTARTED = (
        "nasRestarted",
        "The gateway node of the mobile core was restarted, with all its sessions: the device must attach again.",
    )
    TIMEOUT = (
        "timeout",
        "The mobile core told nothing of the session for so long that it must be gone; was its Stop lost on the way?",
    )
    IDENTITY_CHANGED = (
        "identityChanged",
        "The session no longer matches the device, since config.ciot was changed: correct it, or attach again.",
    )
    TABLE_FULL = (
        "tableFull",
        "Of all sessions this one was without news for longest, and there are cellular.sessions of them: raise that.",
    )
    DEVICE_REMOVED = "deviceRemoved", "The device was removed through the API; create it again if that was a mistake."


class CiotRejectedReason(Reason):
    """Reasons for which a request of the mobile core is refused."""

    UNKNOWN_DEVICE = (
        "unknownDevice",
        "Neither the IMSI nor the IMEI is a device's: `span-events device create --imsi … --imei …`, or update one.",
    )
    NO_IMSI = (
        "noImsi",
        "The request names no valid IMSI to compare: let the NAS send 3GPP-IMSI, or clear config.ciot.imsi.",
    )
    NO_ADDRESS = (
        "noAddress",
        "Every address of the pool is in use or was so a moment ago: enlarge cellular.pool, or give the device one.",
    )
    DEVICE_DISABLED = (
        "deviceDisabled",
        "The device is disabled: `span-events device update DEVICE --enable` lets it attach.",
    )
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The device's collection is disabled: set enabled of the collection to true.",
    )
    BAD_SECRET = (
        "badSecret",
        "The NAS uses another shared secret: compare with secret or secret_file of its table [[radius.nas]].",
    )
    MISSING_AUTHENTICATOR = (
        "missingAuthenticator",
        "The request has no Message-Authenticator: switch it on at the NAS, or stop requiring it for this NAS.",
    )
    UNKNOWN_NAS = (
        "unknownNas",
        "The request comes from an address that belongs to no NAS of the configuration: add it to [[radius.nas]].",
    )
