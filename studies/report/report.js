// Charts are drawn for the width they have; on paper that is the page's, which only the print events announce.
(function () {
  var places = [];
  document.querySelectorAll("script[data-chart]").forEach(function (source) {
    var place = document.getElementById("chart-" + source.dataset.chart);
    var figure = JSON.parse(source.textContent);
    Plotly.newPlot(place, figure.data, figure.layout, {
      displayModeBar: false, displaylogo: false, responsive: true, showTips: false, doubleClick: false
    });
    places.push(place);
  });
  function onPaper() {
    places.forEach(function (place) {
      var small = place.parentNode.className === "small";
      Plotly.relayout(place, { width: small ? 320 : 670, autosize: false });
    });
  }
  function onScreen() {
    places.forEach(function (place) {
      Plotly.relayout(place, { width: null, autosize: true });
    });
  }
  window.addEventListener("beforeprint", onPaper);
  window.addEventListener("afterprint", onScreen);
})();
