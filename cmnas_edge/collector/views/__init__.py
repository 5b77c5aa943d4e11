"""What the API says, as structs: the JSON, and the schemas of its OpenAPI document.

Vectors appear in none of them.
"""

from __future__ import annotations

from cmnas_edge.collector.views.access import AuditAsked, AuditPage, ErasureAsked, ReceiptList, Session
from cmnas_edge.collector.views.decisions import (
    Change,
    ChangeList,
    ChangesAsked,
    Decided,
    DecisionAsked,
    DecisionList,
    DecisionsAsked,
    Move,
)
from cmnas_edge.collector.views.health import BundleAccepted, BundleLeft, Health, Judgement, KeptBack
from cmnas_edge.collector.views.people import (
    IdentitiesAsked,
    Identity,
    IdentityAsked,
    IdentityList,
    Suggestion,
    SuggestionList,
    SuggestionsAsked,
    Timeline,
    Tracklet,
)
from cmnas_edge.collector.views.questions import Id, Limit, Nothing, Problem, Reason, Unanswerable
from cmnas_edge.collector.views.searches import Match, MatchList, Query
from cmnas_edge.collector.views.sightings import (
    Camera,
    CameraList,
    ExportAsked,
    Gap,
    Sighting,
    SightingList,
    SightingsAsked,
)

__all__ = ["AuditAsked", "AuditPage", "BundleAccepted", "BundleLeft", "Camera", "CameraList", "Change", "ChangeList",
           "ChangesAsked", "Decided", "DecisionAsked", "DecisionList", "DecisionsAsked", "ErasureAsked", "ExportAsked",
           "Gap", "Health", "Id", "IdentitiesAsked", "Identity", "IdentityAsked", "IdentityList", "Judgement",
           "KeptBack", "Limit", "Match", "MatchList", "Move", "Nothing", "Problem", "Query", "Reason", "ReceiptList",
           "Session", "Sighting", "SightingList", "SightingsAsked", "Suggestion", "SuggestionList", "SuggestionsAsked",
           "Timeline", "Tracklet", "Unanswerable"]
