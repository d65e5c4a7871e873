"""Reads or writes a topic with librdkafka.

Usage: client.py read BROKER TOPIC, which prints an object a record, bytes in hexadecimal;
client.py write BROKER TOPIC KEY, which writes a record for each line of its input.
"""

import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

LIMIT_S = 30


def read(broker, topic):
    consumer = Consumer({
        "bootstrap.servers": broker,
        "group.id": "reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    })
    partitions = consumer.list_topics(topic, timeout=LIMIT_S).topics[topic].partitions
    # Partitions are assigned, not subscribed to: a group takes its time to come together.
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    unread, deadline = set(partitions), time.monotonic() + LIMIT_S
    while unread:
        if time.monotonic() > deadline:
            sys.exit(f"the partitions {sorted(unread)} have no end")
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error() is None:
            show(message)
        elif message.error().code() == KafkaError._PARTITION_EOF:
            unread.discard(message.partition())
        else:
            sys.exit(str(message.error()))
    consumer.close()


def show(message):
    key, value = message.key(), message.value()
    print(json.dumps({
        "partition": message.partition(),
        "offset": message.offset(),
        "key": None if key is None else key.hex(),
        "value": (value or b"").hex(),
        "headers": [[name, (value or b"").hex()] for name, value in message.headers() or []],
    }))


def write(broker, topic, key):
    failed = []
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True})
    for line in sys.stdin:
        producer.produce(topic, line.rstrip("\n"), key=key,
                         callback=lambda error, _: failed.append(error) if error else None)
    left = producer.flush(LIMIT_S)
    if left or failed:
        sys.exit(f"{left} records were not acknowledged, {failed}")


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
