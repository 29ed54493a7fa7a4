"""Lambda's entry point for ``GET /recommendations?user_id=…``: one read of the read model.

Environment (the stack sets it): ``RECOMMENDATIONS_TABLE``.
"""

import json
import os
import sys

from workbench.cloud.clients import client
from workbench.events import MAX_ID, is_id
from workbench.function.entities import recommendation_from_item
from workbench.settings import Endpoints

_TABLE = os.environ["RECOMMENDATIONS_TABLE"]
_DYNAMODB = client("dynamodb", Endpoints(cloud="aws", region=os.environ["AWS_REGION"]))


def handler(event: dict, context: object) -> dict:
    """API Gateway's proxy event in, its response out: 200 with the items, 400 without a user, 404 for one not seen yet."""
    user_id = (event.get("queryStringParameters") or {}).get("user_id") or ""
    status, body = _answer(user_id)
    print(json.dumps({"status": status}), file=sys.stderr, flush=True)
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}


def _answer(user_id: str) -> tuple[int, dict]:
    if not user_id.strip():
        return 400, {"message": "the query parameter user_id is missing: GET /recommendations?user_id=…"}
    if not is_id(user_id):
        return 400, {"message": f"the query parameter user_id is no id: 1 to {MAX_ID} ASCII characters"}
    found = _DYNAMODB.get_item(
        TableName=_TABLE,
        Key={"user_id": {"S": user_id}},
        ProjectionExpression="user_id, #items, trace_id",
        ExpressionAttributeNames={"#items": "items"},  # a reserved word
    )
    if "Item" not in found:
        return 404, {"message": f"nothing is known of user {user_id!r} yet"}
    recommendation = recommendation_from_item(found["Item"])
    return 200, {"user_id": recommendation.user_id, "items": list(recommendation.items), "trace_id": recommendation.trace_id}
