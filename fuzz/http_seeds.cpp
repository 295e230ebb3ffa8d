// A first corpus for http_fuzz: a request of each kind.
#include <fstream>
#include <string>

int main(int count, char** words) {
  if (count != 2) return 2;
  const std::string folder = words[1], post = "POST /v1/domains HTTP/1.1\r\nHost: localhost\r\n";
  std::ofstream(folder + "/get", std::ios::binary) << "GET /v1/epc/map?cells=7 HTTP/1.1\r\nRange: bytes=0-1\r\n\r\n";
  std::ofstream(folder + "/length", std::ios::binary) << post << "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
  std::ofstream(folder + "/chunks", std::ios::binary)
      << post << "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n";
  return 0;
}
