"""Modbus devices by pymodbus: `tcp PORT`, or `serial`, which prints the line's path.

Unit 1 has every type in every byte order, unit 2 a single register, and there is no unit 3. What lies at a place is
said by struct, so that nothing here follows from the program that is tested.
"""

import asyncio
import os
import struct
import sys
import threading
import tty

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

NUMBERS = [
    (">I", 3735928559),
    (">i", -123456789),
    (">f", 3.140625),
    (">Q", 18364758544493064720),
    (">q", -81985529216486896),
    (">d", -1.0e-7),
]


def registers(packed, order):
    words = [packed[at : at + 2] for at in range(0, len(packed), 2)]
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    return [int.from_bytes(word, "big") for word in words]


def words(address, values):
    return SimData(address, values=values, datatype=DataType.REGISTERS)


def holding():
    yield words(0, [513, 258, 65534, 65411, 0b1010])
    for index, order in enumerate(["ABCD", "CDAB", "BADC", "DCBA"]):
        packed = [registers(struct.pack(form, number), order) for form, number in NUMBERS]
        yield words(100 + 20 * index, sum(packed, []))
    yield words(200, registers(b"Pump 7\0\0", "ABCD"))
    yield words(206, registers(struct.pack(">f", float("nan")), "ABCD"))


def devices():
    bits = [number % 3 == 0 for number in range(32)]
    coils = SimData(0, values=bits, datatype=DataType.BITS)
    discrete = SimData(0, values=[not bit for bit in bits], datatype=DataType.BITS)
    yield SimDevice(1, ([coils], [discrete], list(holding()), [words(30, [7, 8, 9])]))
    yield SimDevice(2, ([coils], [discrete], [words(0, [1])], [words(30, [70, 80, 90])]))


def copy(source, target):
    while chunk := os.read(source, 256):
        os.write(target, chunk)


def line():
    """Two ends of a serial line."""
    masters, paths = [], []
    for _ in range(2):
        master, slave = os.openpty()
        tty.setraw(slave)
        masters.append(master)
        paths.append(os.ttyname(slave))
    for source, target in (masters, masters[::-1]):
        threading.Thread(target=copy, args=(source, target), daemon=True).start()
    return paths


async def main():
    if sys.argv[1] == "tcp":
        server = ModbusTcpServer(list(devices()), address=("127.0.0.1", int(sys.argv[2])))
        told = sys.argv[2]
    else:
        ours, told = line()
        server = ModbusSerialServer(
            list(devices()), framer=FramerType.RTU, port=ours, baudrate=115200, ignore_missing_devices=True
        )
    await server.serve_forever(background=True)
    print(told, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
