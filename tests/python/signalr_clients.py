"""SignalR's Python clients, pysignalr and signalrcore, behind one face for the tests.

Owns: one connection of either, in JSON or in MessagePack. In: calls, streams, uploads. Out: what they gave, what was
heard, and how the connection ended. The clients are as they are installed; what is odd about them is said here.

Invariant: nothing waits without a deadline.
"""

import asyncio
import contextlib
import itertools
import logging
import socket
import threading

import pysignalr.client
import pysignalr.protocol.json
import pysignalr.protocol.messagepack
import signalrcore.hub_connection_builder
import signalrcore.protocol.json_hub_protocol
import signalrcore.protocol.messagepack_protocol
import signalrcore.subject
import signalrcore.types

DEADLINE = 30

# What they say of their own is no part of a test's outcome.
for name in ("SignalRCoreClient", "pysignalr"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


class Failed(Exception):
    """A call or a stream has ended with an error; its text is SignalR's."""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, DEADLINE)


class Client:
    """What both clients can do."""

    def __init__(self, url, encoding, **settings):
        self.url = url
        self.encoding = encoding
        self.settings = settings
        self.events = {}
        # How the connection has ended.
        self.ended = asyncio.get_running_loop().create_future()

    async def __aenter__(self):
        await within(self.connect())
        return self

    async def __aexit__(self, *_):
        await within(self.close())

    def hear(self, event):
        """Keeps an event's arguments from here on."""
        self.events[event] = asyncio.Queue()
        self.listen(event, self.events[event].put_nowait)

    async def heard(self, event):
        return await within(self.events[event].get())

    async def error(self, method, *arguments):
        """The text of the error that a call ends with."""
        try:
            value = await self.call(method, *arguments)
        except Failed as failed:
            return str(failed)
        raise AssertionError(f"{method} did not fail, and gave {value!r}")

    def end(self, how):
        if not self.ended.done():
            self.ended.set_result(how)


class PySignalR(Client):
    """It negotiates version 0. A function for tokens is not asked before the WebSocket is there: what has to
    authenticate must be in `headers` or in the URL. It comes back with the id that it had, to which the answer is 404,
    and then it ends."""

    async def connect(self):
        protocols = {
            "json": pysignalr.protocol.json.JSONProtocol,
            "messagepack": pysignalr.protocol.messagepack.MessagepackProtocol,
        }
        self.client = pysignalr.client.SignalRClient(self.url, protocol=protocols[self.encoding](), **self.settings)
        opened = asyncio.Event()
        self.client.on_open(lambda: self.done(opened.set()))
        # Without this an error of a call would end the connection. The call is told, too.
        self.client.on_error(lambda _: self.done(None))
        self.running = asyncio.create_task(self.client.run())
        self.running.add_done_callback(lambda task: self.end(None if task.cancelled() else task.exception()))
        waiting = asyncio.create_task(opened.wait())
        await asyncio.wait({waiting, self.running}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.running.done():
            raise self.running.exception()

    async def close(self):
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self.running
        # It has no way to be stopped.
        if self.client._transport._ws is not None:
            await self.client._transport._ws.close()

    @staticmethod
    async def done(_):
        pass

    def listen(self, event, keep):
        self.client.on(event, lambda arguments: self.done(keep(arguments)))

    def answer(self, event, answer):
        async def handler(arguments):
            return answer(*arguments)

        self.client.on(event, handler)

    async def call(self, method, *arguments):
        ended = asyncio.get_running_loop().create_future()
        await self.client.send(method, list(arguments), lambda message: self.done(ended.set_result(message)))
        message = await within(ended)
        if message.error is not None:
            raise Failed(message.error)
        return message.result

    async def tell(self, method, *arguments):
        await self.client.send(method, list(arguments))

    async def stream(self, method, *arguments):
        items, ended = [], asyncio.get_running_loop().create_future()
        await self.client.stream(
            method,
            list(arguments),
            lambda item: self.done(items.append(item)),
            lambda _: self.done(ended.set_result(None)),
            lambda message: self.done(ended.set_result(message.error)),
        )
        return items, await within(ended)

    async def upload(self, method, items):
        # The call has no id, so that nothing comes of it.
        async with self.client.client_stream(method) as stream:
            for item in items:
                await stream.send(item)


class SignalRCore(Client):
    """It negotiates version 0, and says that version of JSON, too. It ends at a WebSocket's ping, answers no question,
    and comes back after any `Close`. It has threads of its own."""

    ids = itertools.count()

    async def connect(self):
        self.loop = asyncio.get_running_loop()
        self.calls = {}
        # It reads the system's authorities.
        self.connection = await self.apart(self.build)
        opened, self.returned = asyncio.Event(), asyncio.Event()
        self.connection.on_open(lambda: self.soon(opened.set))
        self.connection.on_reconnect(lambda: self.soon(self.returned.set))
        self.connection.on_close(lambda: self.soon(self.end, None))
        self.connection.on_error(self.failed)
        await self.apart(self.connection.start)
        await opened.wait()

    def build(self):
        builder = signalrcore.hub_connection_builder.HubConnectionBuilder()
        builder.with_url(self.url, options=self.settings.get("options"))
        # By kind, as applications do; an instance would say version 1.
        encodings = signalrcore.types.HubProtocolEncoding
        builder.with_hub_protocol(encodings.text if self.encoding == "json" else encodings.binary)
        if "reconnect" in self.settings:
            builder.with_automatic_reconnect(self.settings["reconnect"])
        return builder.build()

    async def close(self):
        transport = self.connection.transport
        transport.manually_closing = True
        # Else it would wait for the server to say something: its thread reads on from what it has closed.
        with contextlib.suppress(OSError):
            transport._client.sock.shutdown(socket.SHUT_RDWR)
        if transport._client.recv_thread is not None:
            await self.apart(transport._client.recv_thread.join, DEADLINE)
        transport._client.sock.close()
        await self.apart(transport.connection_checker.stop)

    def soon(self, function, *arguments):
        """From one of its threads; what comes behind the test's end is of no interest."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    async def apart(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)

    def listen(self, event, keep):
        self.connection.on(event, lambda arguments: self.soon(keep, arguments))

    def failed(self, message):
        self.soon(self.settle, message.invocation_id, message)

    def settle(self, invocation, message):
        future = self.calls.pop(invocation, None)
        if future is not None and not future.done():
            future.set_result(message)

    async def call(self, method, *arguments):
        invocation = f"{next(self.ids)}"
        self.calls[invocation] = ended = self.loop.create_future()
        settle = lambda message: self.soon(self.settle, invocation, message)  # noqa: E731
        await self.apart(self.connection.invoke, method, list(arguments), settle, invocation)
        message = await within(ended)
        if message.error:
            raise Failed(message.error)
        return message.result

    async def tell(self, method, *arguments):
        # It always asks for an answer.
        await self.apart(self.connection.send, method, list(arguments))

    async def stream(self, method, *arguments):
        items, ended = [], self.loop.create_future()
        transport, gate = self.connection.transport, threading.Lock()
        on_message = transport._on_message

        def later(messages):
            with gate:
                return on_message(messages)

        def begin():
            # What is read waits until the handlers are there.
            with gate:
                stream = self.connection.stream(method, list(arguments))
                complete = lambda message: self.soon(self.settle, stream.invocation_id, message)  # noqa: E731
                keep = lambda item: self.soon(items.append, item)  # noqa: E731
                stream.subscribe({"next": keep, "complete": complete, "error": self.failed})
                # An error is not told to the stream, but to the connection.
                self.calls[stream.invocation_id] = ended

        transport._on_message = later
        try:
            await self.apart(begin)
            message = await within(ended)
        finally:
            transport._on_message = on_message
        return items, message.error

    async def upload(self, method, items):
        subject = signalrcore.subject.Subject()
        # The call has no id, so that nothing comes of it.
        await self.apart(self.connection.send, method, subject)
        for item in items:
            await self.apart(subject.next, item)
        await self.apart(subject.complete)
