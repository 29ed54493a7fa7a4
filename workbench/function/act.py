"""Stage 6: write the read model, from which the API answers. A batch that is delivered again changes nothing in it.

A user's item is put over the version that the batch was worked out from. Of two workers that have the same user at once, as
when one lost its lease in mid-call, the later one fails; its batch is tried again and then sees what the other wrote.
The processor then puts back the vectors that it had upserted: the index knows no conditional write.

One transaction does it, not a conditional PutItem for each user: on the embedded cloud that takes 2.5 times as long for 10
users and 3.2 times for 100, with 14 times the processor time in the function. On AWS it costs twice the write units:
"DynamoDB performs two underlying reads or writes of every item in the transaction" (DynamoDB developer guide, "Amazon
DynamoDB Transactions: How it works").

aws-lambda-powertools does not fit: its idempotency utility notes payloads in a table of its own, not together with the effect,
so a part of a batch, or a crash between the two, would count twice; its batch utility works on one record at a time.
"""

from workbench.events import Recommendation
from workbench.function.entities import recommendation_item
from workbench.function.tables import Tables, put_over
from workbench.function.visits import Visit


def act(dynamodb, tables: Tables, visits: list[Visit], recommended: list[list[dict]]) -> list[Recommendation]:
    """One item a user: what to show, and the activity that the user's next event goes on from.

    All users of a batch are written or none, up to 100; more are written 100 at a time. Where a later hundred fails, the batch
    does, and finds the events of the earlier ones counted when it is tried again.

    Raises:
        WriteConflict: another worker wrote some of the users since the batch read them.
        ServiceError: the table is throttled, or refuses an item.
    """
    recommendations = [
        Recommendation(visit.user_id, tuple(items), visit.trace_id) for visit, items in zip(visits, recommended, strict=True)
    ]
    replacements = (
        (recommendation_item(made, visit.activity), visit.read_version)
        for made, visit in zip(recommendations, visits, strict=True)
    )
    put_over(dynamodb, tables.recommendations, replacements, key="user_id")
    return recommendations
