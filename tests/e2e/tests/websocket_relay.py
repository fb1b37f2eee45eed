"""A WebSocket listener before a hub that has none: `LISTEN_PORT HUB_PORT [CERTIFICATE KEY]`.

What comes in frames goes on to the hub's MQTT port, and what the hub says comes back in frames of any size: packets
and frames have nothing to do with each other (MQTT 5, section 6). Prints the path of each connection.
"""

import asyncio
import random
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

FRAME_BYTES_MAX = 4 << 20


async def from_device(socket, writer):
    try:
        async for frame in socket:
            assert isinstance(frame, bytes), "MQTT comes in binary frames"
            writer.write(frame)
            await writer.drain()
    finally:
        writer.close()


async def from_hub(reader, socket):
    while part := await reader.read(random.randint(1, 64)):
        await socket.send(part)
    await socket.close()


async def main(listen_port, hub_port, *identity):
    async def relay(socket):
        print(socket.request.path, flush=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", hub_port)
        try:
            await asyncio.gather(from_device(socket, writer), from_hub(reader, socket))
        except (ConnectionClosed, ConnectionError):
            pass

    tls = None
    if identity:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*identity)
    listening = serve(
        relay, "127.0.0.1", int(listen_port), subprotocols=["mqtt"], max_size=FRAME_BYTES_MAX, ssl=tls
    )
    async with listening as server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
