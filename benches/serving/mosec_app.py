"""A model that does nothing behind mosec, three workers; with BATCH=1, one that takes 5 ms for a batch of up to 16."""

import os
import time

from mosec import Server, Worker

BATCH = bool(os.environ.get("BATCH"))


def answer(request):
    return {"request_id": request.get("request_id"), "result": "ok"}


class Noop(Worker):
    def forward(self, data):
        if not BATCH:
            return answer(data)
        time.sleep(0.005)
        return [answer(request) for request in data]


if __name__ == "__main__":
    server = Server()
    if BATCH:
        server.append_worker(Noop, num=3, max_batch_size=16, max_wait_time=1, route="/infer")
    else:
        server.append_worker(Noop, num=3, route="/infer")
    server.run()
