"""In the manner of asyncio's pages on tasks, queues and streams: docs.python.org/3/library/asyncio.html."""
import asyncio


async def worker(name, queue, done):
    while True:
        item = await queue.get()
        await asyncio.sleep(0.01)
        done.append((name, item))
        queue.task_done()


async def echo(reader, writer):
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()


async def main():
    queue, done = asyncio.Queue(), []
    for item in range(5):
        queue.put_nowait(item)
    workers = [asyncio.create_task(worker(f"worker-{n}", queue, done)) for n in range(2)]
    await queue.join()
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    print(len(done), "tasks by", len({name for name, _ in done}), "workers")

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        print("answer:", (await reader.readline()).decode().strip())
        writer.close()
    try:
        await asyncio.wait_for(asyncio.sleep(60), timeout=0.05)
    except asyncio.TimeoutError:
        print("timed out, as it should")


asyncio.run(main())
