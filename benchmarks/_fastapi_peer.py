"""The same ingest as FastAPI and asyncpg would do it, as a peer to measure against.

It checks the token, validates every field with pydantic, inserts with ON CONFLICT DO NOTHING and
answers after COMMIT. Run by uvicorn; never part of the product.
"""

import hashlib
import os
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import asyncpg
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field, create_model

from edge_agent.shared.samples import SUNGROW


def _annotation(field):
    number = float if field.type == "float" else int
    limited = Annotated[number, Field(ge=field.low, le=field.high, allow_inf_nan=False)]
    if field.default is not None:
        return limited, field.default
    if not field.nullable:
        return limited, ...
    return limited | None, ... if field.required else None


Sample = create_model(
    "Sample",
    device_id=(str, ...),
    ts=(datetime, ...),
    **{f.name: _annotation(f) for f in SUNGROW.fields},
)


class Batch(BaseModel):
    """The body of an ingest request."""

    samples: list[Sample]


@asynccontextmanager
async def lifespan(app: FastAPI):
    """Keep a pool of connections while the program runs."""
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=4, max_size=8)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


ENTRIES = [entry.split(":") for entry in os.environ["DEVICE_TOKENS"].split(",")]
DEVICES = {_digest(token): device for token, device, *_ in ENTRIES}
COLUMNS = SUNGROW.columns
TYPES = ["text", "timestamptz", *(f.sql_type for f in SUNGROW.fields)]
ARRAYS = ", ".join(f"${number}::{type}[]" for number, type in enumerate(TYPES, 1))
INSERT = (
    f"INSERT INTO sungrow_samples ({', '.join(COLUMNS)}) SELECT * FROM unnest({ARRAYS}) "
    "ON CONFLICT DO NOTHING"
)


@app.post("/v1/ingest")
async def ingest(batch: Batch, authorization: Annotated[str, Header()]) -> dict:
    """Store a batch and say how many of its rows are new."""
    device = DEVICES.get(_digest(authorization.removeprefix("Bearer ")))
    if device is None:
        raise HTTPException(401)
    if any(sample.device_id != device for sample in batch.samples):
        raise HTTPException(403)
    columns = [[getattr(sample, name) for sample in batch.samples] for name in COLUMNS]
    async with app.state.pool.acquire() as connection, connection.transaction():
        status = await connection.execute(INSERT, *columns)
    inserted = int(status.split()[-1])
    received = len(batch.samples)
    return {"inserted": inserted, "received": received, "duplicates": received - inserted}
