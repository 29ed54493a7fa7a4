"""Stage 6: write the read model, from which the API answers."""

from workbench.events import Recommendation
from workbench.function.entities import recommendation_item
from workbench.function.tables import Tables, put_items
from workbench.function.visits import Visit


def act(dynamodb, tables: Tables, visits: list[Visit], recommended: list[list[dict]]) -> list[Recommendation]:
    """One item a user: what to show, and the activity that the user's next event goes on from."""
    recommendations = [
        Recommendation(visit.user_id, tuple(items), visit.trace_id) for visit, items in zip(visits, recommended, strict=True)
    ]
    items = (recommendation_item(made, visit.activity) for made, visit in zip(recommendations, visits, strict=True))
    put_items(dynamodb, tables.recommendations, items)
    return recommendations
