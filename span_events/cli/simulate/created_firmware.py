"""The firmware that `simulate --firmware` makes through the API, and takes away again."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress

from span_events.cli.resources.common import collection_path, device_path
from span_events.cli.simulate.created import Simulated, each_of, is_marked, tags_of
from span_events.client.api import Client
from span_events.errors import Conflict, NotFound
from span_events.simulator.firmware.device import make_image
from span_events.simulator.firmware.updates import IMAGE_OCTETS, next_version
from span_events.simulator.terminals import Member


class SimulatedWithFirmware(Simulated):
    """The devices of `simulate`, and an image that they are to run: those that a person made are left as they are."""

    def __init__(self, client: Client, collection: str, *, by_sim: bool) -> None:
        super().__init__(client, collection, by_sim=by_sim)
        self._image = ""
        """Id of the image of this run."""

    async def make(self, members: Sequence[Member]) -> None:
        """See to it that the server knows each device, and has an image for it that is newer than all others."""
        await self.find_collection()
        await self._check_management()
        await super().make(members)
        images = (await self.client.request("GET", self._path())).get("images") or []
        await each_of(self._upload, [next_version(str(each.get("version")) for each in images)])
        await each_of(self._assign, list(self.ours))
        await each_of(self._delete_earlier, [str(each["imageId"]) for each in images if is_marked(each)])

    async def delete_others(self) -> None:
        """Delete the image that this simulation made."""
        if self._image:
            await each_of(self._delete_image, [self._image])

    async def _check_management(self) -> None:
        """
        Make each device's own target count, so that other devices of the collection keep theirs.

        Raises:
            Conflict: The collection's target counts, and `simulate` did not create the collection.
        """
        path = collection_path(self.collection)
        collection = await self.client.request("GET", path)
        management = (collection.get("firmware") or {}).get("management") or "disabled"
        if management == "device":
            return
        if not is_marked(collection):
            raise Conflict(
                f"The firmware management of collection {self.collection} is {management}; --firmware needs device",
                hint="Leave out -c; or let `span-events firmware assign --management device` change it.",
            )
        await self.client.request("PATCH", path, {"firmware": {"management": "device"}})

    async def _upload(self, version: str) -> None:
        body = {
            "image": base64.b64encode(make_image(version, IMAGE_OCTETS)).decode(),
            "version": version,
            "filename": f"simulated-{version}.bin",
            "tags": tags_of("firmware"),
        }
        self._image = str((await self.client.request("POST", self._path(), body))["imageId"])

    async def _assign(self, device: str) -> None:
        target = {"firmware": {"targetFirmwareId": self._image}}
        await self.client.request("PATCH", device_path(self.collection, device), target)

    async def _delete_image(self, image: str) -> None:
        with suppress(NotFound):  # deleted meanwhile by another client
            await self.client.request("DELETE", self._path(image))

    async def _delete_earlier(self, image: str) -> None:
        with suppress(Conflict):  # devices of another run are to run it
            await self._delete_image(image)

    def _path(self, image: str = "") -> str:
        return f"{collection_path(self.collection)}/firmware" + (f"/{image}" if image else "")
