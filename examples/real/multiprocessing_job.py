"""In the manner of multiprocessing's introduction: a pool, a queue and a lock: docs.python.org/3/library/multiprocessing.html."""
import multiprocessing
import os


def square(n):
    return n * n


def announce(queue, lock):
    with lock:
        queue.put(os.getpid())


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print("sum of squares:", sum(pool.map(square, range(101))))
    queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
    children = [multiprocessing.Process(target=announce, args=(queue, lock)) for _ in range(3)]
    for child in children:
        child.start()
    pids = {queue.get(timeout=30) for _ in children}
    for child in children:
        child.join()
    print(len(pids), "processes of their own")
