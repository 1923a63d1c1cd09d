"""URLs of the pages of the library."""

from django.urls import path

from campaigns.library.pages import picker, views

urlpatterns = [
    path("library/", views.library, name="library"),
    path("library/<int:pk>/", views.item, name="library-item"),
    path("library/<int:pk>/delete/", views.delete, name="library-delete"),
    path("library/add/<str:airline>/<str:campaign>/", picker.pick, name="library-pick"),
]
